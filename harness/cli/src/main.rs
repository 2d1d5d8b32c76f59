//! The `kverdict` program.

mod process;
mod progress;

fn main() {}
