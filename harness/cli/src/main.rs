//! kverdict.
fn main() {
    if kverdict_agent::is_guest() {
        kverdict_agent::main()
    }
}
