//! How much of a CPU the threads get that serve no client (sched(7)).

use thread_priority::{
    NormalThreadSchedulePolicy, ThreadPriority, ThreadSchedulePolicy, set_thread_priority_and_policy, thread_native_id,
};

/// What a thread takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Priority {
    /// What nobody else wants (`SCHED_IDLE`): a low nice value alone would let it finish its slice of some milliseconds while the
    /// journal's thread waits. Where workers spin on all CPUs it still gets a share, of 0.3 %.
    Idle,
    /// The least of those who do not wait for idle time, and in long slices (`SCHED_BATCH`, nice 19).
    Least,
    /// A tenth of a CPU that is busy (nice 10).
    Tenth,
}

/// Lets this thread have no more than that. Without `CAP_SYS_NICE` there is no way back.
pub(crate) fn lower(priority: Priority) {
    use NormalThreadSchedulePolicy::{Batch, Idle, Other};
    let (policy, value) = match priority {
        Priority::Idle => (Idle, ThreadPriority::Min),
        Priority::Least => (Batch, ThreadPriority::Min),
        Priority::Tenth => (Other, ThreadPriority::try_from(25u8).unwrap_or(ThreadPriority::Min)),
    };
    let policy = ThreadSchedulePolicy::Normal(policy);
    if let Err(error) = set_thread_priority_and_policy(thread_native_id(), value, policy) {
        let thread = std::thread::current();
        log::debug!("{}: it keeps its priority: {error}", thread.name().unwrap_or("a thread"));
    }
}
