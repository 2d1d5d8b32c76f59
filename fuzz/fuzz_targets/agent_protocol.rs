//! What a guest says in the agent's place: it is bounded, plain text, and the same however it came.
#![no_main]

use std::time::Instant;

use kverdict_core::agent_channel::{AgentChannel, Phase};
use kverdict_fuzz::pieces;
use libfuzzer_sys::fuzz_target;

fn heard<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> AgentChannel {
    let mut channel = AgentChannel::new();
    let now = Instant::now();
    for piece in pieces {
        channel.feed(piece, now);
    }
    channel
}

/// All that it knows, but for the host's time.
fn known(channel: &AgentChannel) -> String {
    format!(
        "{:?} {:?} {:?} {:?} {:?} {} {} {:?} {} {:?}",
        channel.phase,
        channel.detectors,
        channel.refused_settings,
        channel.silent_cpus,
        channel.release,
        channel.garbage_lines,
        channel.messages,
        channel.load_started_ms(),
        channel.load_ms(),
        channel.exposure(),
    )
}

fuzz_target!(|said: &[u8]| {
    let whole = heard([said]);
    assert_eq!(known(&whole), known(&heard(pieces(said))));
    let lines = said.iter().filter(|byte| **byte == b'\n').count() as u64;
    assert_eq!(whole.messages + whole.garbage_lines, lines);
    let mut texts = whole.refused_settings.clone();
    texts.extend(whole.release.clone());
    if let Phase::Unfit(text) | Phase::LoadFailed(text) = &whole.phase {
        texts.push(text.clone());
    }
    for text in texts {
        assert!(!text.contains(char::is_control), "{text:?}");
    }
    let exposure = whole.exposure();
    assert!(exposure.heartbeats <= whole.messages);
    // An endless channel is the same thing again and again.
    if said.len() < 256 {
        let flood = heard(std::iter::repeat_n(said, 128));
        assert!(flood.refused_settings.len() <= 100);
    }
});
