//! Answers on their way from the writer to whoever waits: those of a group that wait on one thread go there together.
//!
//! # Why together
//! Each answer on its own costs a system call that wakes the thread, and a thread that shares its core with the writer then runs at
//! once, for one answer, dozens of times in a group. Handed over together they cost that once.

use std::cell::RefCell;

use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot};

use super::{Receipt, Refusal};

/// Groups whose answers a thread has not looked at yet; more are handed over one by one.
const GROUPS_MAX: usize = 16;

/// What is answered to a delivery.
pub type Answer = Result<Receipt, Refusal>;

/// Where the answer to a delivery goes.
#[derive(Debug)]
pub struct Reply {
    waiting: oneshot::Sender<Answer>,
    /// Where others wait on the same thread; `None` outside a runtime.
    thread: Option<Thread>,
}

type Group = Vec<(oneshot::Sender<Answer>, Answer)>;
type Thread = mpsc::Sender<Group>;

thread_local! {
    static THREAD: RefCell<Option<Thread>> = const { RefCell::new(None) };
}

impl Reply {
    /// A reply that is awaited on this thread, and what awaits it.
    #[must_use]
    pub fn channel() -> (Self, oneshot::Receiver<Answer>) {
        let (waiting, answer) = oneshot::channel();
        let thread = Handle::try_current().ok().map(|runtime| THREAD.with_borrow_mut(|thread| this_thread(thread, &runtime)));
        (Self { waiting, thread }, answer)
    }

    /// Whether nobody waits any more.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.waiting.is_closed()
    }
}

/// The thread's own, which a task in its runtime serves for as long as that lasts.
fn this_thread(thread: &mut Option<Thread>, runtime: &Handle) -> Thread {
    if let Some(thread) = thread.as_ref().filter(|thread| !thread.is_closed()) {
        return thread.clone();
    }
    let (sender, mut groups) = mpsc::channel(GROUPS_MAX);
    drop(runtime.spawn(async move {
        while let Some(group) = groups.recv().await {
            give(group);
        }
    }));
    thread.insert(sender).clone()
}

/// Answers everyone. Whoever no longer waits was told 503 and sends again: a duplicate then.
pub fn send(answers: impl IntoIterator<Item = (Reply, Answer)>) {
    let mut threads: Vec<(Option<Thread>, Group)> = Vec::new();
    for (Reply { waiting, thread }, answer) in answers {
        let same = |other: &Option<Thread>| match (other, &thread) {
            (Some(other), Some(thread)) => other.same_channel(thread),
            (other, thread) => other.is_none() && thread.is_none(),
        };
        match threads.iter_mut().find(|(other, _)| same(other)) {
            Some((_, group)) => group.push((waiting, answer)),
            None => threads.push((thread, vec![(waiting, answer)])),
        }
    }
    for (thread, group) in threads {
        let sent = match thread {
            Some(thread) => thread.try_send(group).map_err(mpsc::error::TrySendError::into_inner),
            None => Err(group),
        };
        if let Err(group) = sent {
            give(group);
        }
    }
}

fn give(group: Group) {
    for (waiting, answer) in group {
        drop(waiting.send(answer));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::directory::Outcome;

    fn receipt(id: usize) -> Answer {
        Ok(Receipt { outcome: Outcome::Applied, event_id: id.to_string(), event: None })
    }

    #[tokio::test]
    async fn everyone_is_answered_however_many_groups_wait() {
        let (mut replies, mut waiting) = (Vec::new(), Vec::new());
        for _ in 0..4 * GROUPS_MAX {
            let (reply, answer) = Reply::channel();
            replies.push(reply);
            waiting.push(answer);
        }
        let (alone, answer) = std::thread::spawn(Reply::channel).join().expect("it ends");
        replies.push(alone);
        waiting.push(answer);
        for (id, reply) in replies.into_iter().enumerate() {
            send([(reply, receipt(id))]);
        }
        for (id, answer) in waiting.into_iter().enumerate() {
            assert_eq!(answer.await, Ok(receipt(id)));
        }
    }

    #[test]
    fn a_thread_whose_runtime_has_ended_is_served_by_the_next() {
        for id in 0..3 {
            let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
            let answer = runtime.block_on(async {
                let (reply, answer) = Reply::channel();
                drop(std::thread::spawn(move || send([(reply, receipt(id))])));
                answer.await
            });
            assert_eq!(answer, Ok(receipt(id)));
        }
    }
}
