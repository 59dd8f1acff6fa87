#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| fuzzed::hold(fuzzed::forward::judge, input));
