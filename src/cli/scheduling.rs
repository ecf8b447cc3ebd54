//! Where the thread that coordinates stands with the kernel's scheduler.

use preempt_rt::sched::{Pid, Scheduler, SchedulerParams, get_scheduler, set_scheduler};

/// Has the calling thread, and those that it starts from now on, no longer interrupt a thread that
/// works when it is woken: `SCHED_BATCH` of sched(7).
///
/// What one thread does here is a few µs for each message; that each of them takes a core from an
/// extractor costs more than the messages themselves. With a core free it runs at once as before. Where
/// the kernel refuses, or where an operator has chosen another policy, all stays as it is.
pub(super) fn never_interrupt() {
    let own = Pid::current_thread();
    if get_scheduler(own).is_ok_and(|policy| policy == Scheduler::SCHED_NORMAL) {
        set_scheduler(own, Scheduler::SCHED_BATCH, SchedulerParams { priority: 0 }).ok();
    }
}
