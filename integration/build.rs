//! Tells the tests for which platform they were built.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!(
        "cargo::rustc-env=HOST={}",
        std::env::var("TARGET").unwrap_or_default()
    );
}
