//! The kernel's scheduling policy for the coordinating thread.

use preempt_rt::sched::{Pid, Scheduler, SchedulerParams, get_scheduler, set_scheduler};

/// Makes the calling thread, and threads that it starts from now on, wake up without preempting a
/// working thread: `SCHED_BATCH` of sched(7).
///
/// This thread needs a few µs per message. If each message took a core from an extractor, that would cost
/// more than the messages themselves. With a free core the thread still runs at once. If the kernel
/// refuses, or if an operator has chosen another policy, nothing changes.
/// the kernel refuses, or where an operator has chosen another policy, all stays as it is.
pub(super) fn never_interrupt() {
    let own = Pid::current_thread();
    if get_scheduler(own).is_ok_and(|policy| policy == Scheduler::SCHED_NORMAL) {
        set_scheduler(own, Scheduler::SCHED_BATCH, SchedulerParams { priority: 0 }).ok();
    }
}
