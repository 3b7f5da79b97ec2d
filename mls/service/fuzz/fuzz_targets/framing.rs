//! Any bytes are read or refused; nothing panics.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let _ = comity_mls_service::framing::Framing::read(bytes);
});
