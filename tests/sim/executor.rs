//! Polls the actors' futures, one at a time, in an order that the seed decides: no threads, no real time.

use std::collections::{BTreeMap, BTreeSet};
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Wake, Waker};

use rand::Rng;
use rand::rngs::SmallRng;

type Task = Pin<Box<dyn Future<Output = ()>>>;

/// What runs, and who of it can get on.
#[derive(Default)]
pub(crate) struct Executor {
    tasks: BTreeMap<u64, (Task, Waker)>,
    ready: Arc<Mutex<BTreeSet<u64>>>,
    given: u64,
}

struct Bell {
    number: u64,
    ready: Arc<Mutex<BTreeSet<u64>>>,
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.ready.lock().unwrap().insert(self.number);
    }
}

impl Executor {
    /// Takes a task in; it can get on at once.
    pub(crate) fn spawn(&mut self, task: impl Future<Output = ()> + 'static) {
        self.given += 1;
        let waker = Arc::new(Bell { number: self.given, ready: Arc::clone(&self.ready) }).into();
        self.tasks.insert(self.given, (Box::pin(task), waker));
        self.ready.lock().unwrap().insert(self.given);
    }

    /// Polls one of the tasks that can get on; `false` when there is none.
    pub(crate) fn poll(&mut self, rng: &mut SmallRng) -> bool {
        let number = {
            let mut ready = self.ready.lock().unwrap();
            let place = if ready.len() > 1 { rng.random_range(0..ready.len()) } else { 0 };
            let Some(number) = ready.iter().nth(place).copied() else { return false };
            ready.remove(&number);
            number
        };
        if let Some((task, waker)) = self.tasks.get_mut(&number)
            && task.as_mut().poll(&mut Context::from_waker(waker)).is_ready()
        {
            self.tasks.remove(&number);
        }
        true
    }

    /// Drops everything where it stands: the process was killed.
    pub(crate) fn kill(&mut self) {
        self.tasks.clear();
        self.ready.lock().unwrap().clear();
    }
}
