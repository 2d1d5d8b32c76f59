//! Rebuilds the program when the embedded catalogue changes, also by a new file.

fn main() {
    println!("cargo:rerun-if-changed=../../kernels");
}
