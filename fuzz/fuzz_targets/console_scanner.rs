//! A guest's console: whatever it writes, findings are bounded, and do not depend on how the bytes
//! came.
#![no_main]

use kverdict_core::console::{ConsoleFindings, Scanner};
use kverdict_fuzz::pieces;
use libfuzzer_sys::fuzz_target;

/// What findings of any console may take, as JSON: 64 reports with 1024 stacks among them.
const FINDINGS_BYTES_MAX: usize = 32 << 20;

fn scan<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> ConsoleFindings {
    let mut scanner = Scanner::new();
    for piece in pieces {
        scanner.feed(piece);
        // Looked at while the guest runs, too.
        let _ = (scanner.terminal(), scanner.target_complete());
    }
    scanner.finish()
}

fuzz_target!(|console: &[u8]| {
    let whole = scan([console]);
    assert_eq!(whole, scan(pieces(console)));
    assert_eq!(whole.bytes, console.len() as u64);
    let reports = whole.reports.len();
    assert!(whole.worst.is_none_or(|worst| worst < reports));
    for report in &whole.reports {
        assert!(report.offset <= whole.bytes && report.line <= whole.lines);
    }
    // An endless console is the same thing again and again.
    if console.len() < 512 {
        let endless = scan(std::iter::repeat_n(console, 256));
        let json = serde_json::to_vec(&endless).expect("findings are JSON");
        assert!(json.len() <= FINDINGS_BYTES_MAX, "{} bytes", json.len());
    }
});
