//! Compiles the window holder into a shared object that QEMU can load, to be embedded.
//!
//! The compiler is called by itself, because cargo would build it like everything else here: linked
//! statically, which a plugin cannot be.

use std::env;
use std::path::Path;
use std::process::Command;

const SOURCE: &str = "../holder/src";

fn main() {
    // What include_dir! embeds: it does not notice a new file by itself.
    for source in [SOURCE, "../../kernels", "../../configs"] {
        println!("cargo::rerun-if-changed={source}");
    }
    let variable = |name: &str| env::var(name).unwrap_or_else(|_| panic!("cargo sets {name}"));
    let status = Command::new(variable("RUSTC"))
        .arg(format!("{SOURCE}/lib.rs"))
        .args(["--crate-name", "kverdict_holder", "--edition", "2024"])
        .args(["--crate-type", "cdylib", "--cfg", "feature=\"plugin\""])
        .args(["--cap-lints", "allow", "--target", &variable("TARGET")])
        .args([
            "-C",
            "opt-level=2",
            "-C",
            "panic=abort",
            "-C",
            "strip=symbols",
        ])
        .arg("-o")
        .arg(Path::new(&variable("OUT_DIR")).join("holder.so"))
        .status()
        .expect("the compiler that cargo uses");
    assert!(status.success(), "the holder does not compile: {status}");
}
