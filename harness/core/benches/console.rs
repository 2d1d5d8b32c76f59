//! How fast consoles are read. `cargo bench -p kverdict-core --bench console`

use divan::counter::BytesCount;
use divan::{Bencher, black_box};
use kverdict_core::console::Scanner;

const SIZE_BYTES: usize = 64 << 20;
const CHUNK_BYTES: usize = 64 << 10;

fn main() {
    divan::main();
}

fn repeated(log: &[u8]) -> Vec<u8> {
    log.iter().copied().cycle().take(SIZE_BYTES).collect()
}

fn scan(bencher: Bencher<'_, '_>, console: &[u8]) {
    bencher
        .counter(BytesCount::of_slice(console))
        .bench_local(|| {
            let mut scanner = Scanner::new();
            console
                .chunks(CHUNK_BYTES)
                .for_each(|chunk| scanner.feed(chunk));
            black_box(scanner.finish())
        });
}

/// Boot messages over and over: what nearly all consoles are.
#[divan::bench(sample_count = 5)]
fn boots(bencher: Bencher<'_, '_>) {
    scan(
        bencher,
        &repeated(include_bytes!("../tests/logs/clean-6.12.log")),
    );
}

/// A deadlocked kernel that reports lockups and every CPU's stack without end.
#[divan::bench(sample_count = 5)]
fn lockups(bencher: Bencher<'_, '_>) {
    scan(
        bencher,
        &repeated(include_bytes!("../tests/logs/target-6.12-reintroduced.log")),
    );
}

/// Noise in one endless line.
#[divan::bench(sample_count = 5)]
fn noise(bencher: Bencher<'_, '_>) {
    let mut state = 1u64;
    let noise: Vec<u8> = (0..SIZE_BYTES)
        .map(|_| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            match (state >> 56) as u8 {
                b'\n' => b'[',
                byte => byte,
            }
        })
        .collect();
    scan(bencher, &noise);
}

/// Every line begins a report.
#[divan::bench(sample_count = 5)]
fn reports(bencher: Bencher<'_, '_>) {
    let line = b"[   72.395104] watchdog: BUG: soft lockup - CPU#1 stuck for 52s! [init:76]\r\n";
    scan(bencher, &repeated(line));
}

/// Every byte could begin a message.
#[divan::bench(sample_count = 5)]
fn brackets(bencher: Bencher<'_, '_>) {
    scan(bencher, &repeated(b"[ [[[   1.00000[<1"));
}
