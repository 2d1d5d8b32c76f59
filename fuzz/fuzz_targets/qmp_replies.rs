//! What a monitor says that may be nobody's: lines of QMP, registers, memory.
#![no_main]

use kverdict_core::outside::monitor::{Line, fill, vcpu_threads};
use kverdict_core::outside::registers;
use libfuzzer_sys::fuzz_target;

fn registers(text: &str) {
    match registers::parse(text) {
        Ok(vcpus) => {
            assert!(!vcpus.is_empty());
            let mut indexes: Vec<u32> = vcpus.iter().map(|(index, _)| *index).collect();
            indexes.sort_unstable();
            indexes.dedup();
            assert_eq!(indexes.len(), vcpus.len());
            assert!(vcpus.iter().all(|(_, vcpu)| vcpu.cpl <= 3));
        }
        Err(error) => assert!(!error.to_string().contains(char::is_control)),
    }
}

fn memory(text: &str) {
    for (size, length) in [(8, 64), (1, 24), (8, 0)] {
        let mut buffer = vec![0xee; length];
        let filled = fill(&mut buffer, size, text);
        assert!(length > 0 || filled);
    }
}

fuzz_target!(|input: &[u8]| {
    let text = String::from_utf8_lossy(input);
    registers(&text);
    memory(&text);
    for line in text.lines() {
        match Line::read(line) {
            Ok(Line::Return(value)) => {
                if let Some(threads) = vcpu_threads(&value) {
                    assert!(threads.len() <= value.as_array().map_or(0, Vec::len));
                }
                if let Some(text) = value.as_str() {
                    registers(text);
                    memory(text);
                }
            }
            Ok(Line::Refused(text) | Line::Event(text)) => {
                assert!(!text.contains(char::is_control));
            }
            Err(error) => assert!(!error.to_string().contains(char::is_control)),
        }
    }
});
