//! The lease table under `loom`: every order in which two or three threads can meet, up to a bound of preemptions, and every
//! value that the memory model lets a load see.
//!
//! The sources are the server's own, compiled here a second time with `loom`'s atomics in place of the standard library's.
//! Left out is `Slot::stamp`: `loom` lets a plain store fall between the two halves of another thread's compare-and-swap of
//! the same word, which neither the memory model nor a processor does.

mod lease;

/// Of the thread that a model runs on, words.
const STACK_WORDS: usize = 0x4000;

/// All orders with at most this many preemptions: nearly all faults of such code need two.
fn model(preemptions: usize, run: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(preemptions);
    builder.max_branches = 20_000;
    let run = std::sync::Arc::new(run);
    // `loom`'s own stack has 4096 words, which is little for frames that are not optimized. The first thread does nothing but wait.
    builder.check(move || {
        let run = std::sync::Arc::clone(&run);
        let thread = loom::thread::Builder::new().stack_size(STACK_WORDS).spawn(move || run());
        thread.expect("a coroutine").join().expect("what the model says holds");
    });
}
