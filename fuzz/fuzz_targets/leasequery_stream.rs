#![no_main]
#![allow(missing_docs, reason = "a program of one line; the macro's function has no documentation")]

libfuzzer_sys::fuzz_target!(|data: &[u8]| dhcp_xdp_fuzz::leasequery_stream::run(data));
