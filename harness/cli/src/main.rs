//! kverdict.
fn main() {}
