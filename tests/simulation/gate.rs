//! What a process has before it: nothing reaches it while it is paused, and what was meant for an earlier life of it is
//! dropped.

use std::collections::VecDeque;

/// The way into one process.
#[derive(Debug)]
pub(crate) struct Gate<T> {
    /// Counts the processes.
    pub(crate) life: u64,
    paused: bool,
    /// What waits for the process to go on, in the order in which it came.
    held: VecDeque<T>,
}

impl<T> Gate<T> {
    pub(crate) const fn new() -> Self {
        Self {
            life: 0,
            paused: false,
            held: VecDeque::new(),
        }
    }

    /// The process ended, or another one begins: whatever was on its way is lost.
    pub(crate) fn close(&mut self) {
        self.life += 1;
        self.paused = false;
        self.held.clear();
    }

    pub(crate) const fn is_paused(&self) -> bool {
        self.paused
    }

    /// Something comes: given back when the process takes it now.
    pub(crate) fn pass(&mut self, life: u64, work: T) -> Option<T> {
        if life != self.life {
            return None;
        }
        if self.paused {
            self.held.push_back(work);
            return None;
        }
        Some(work)
    }

    pub(crate) const fn pause(&mut self) {
        self.paused = true;
    }

    pub(crate) const fn go_on(&mut self) {
        self.paused = false;
    }

    /// The next thing that waited, unless the process is paused again.
    pub(crate) fn next(&mut self) -> Option<T> {
        if self.paused { None } else { self.held.pop_front() }
    }

    /// What the process was about to do when it was paused: it does that first.
    pub(crate) fn put_back(&mut self, work: impl DoubleEndedIterator<Item = T>) {
        for item in work.rev() {
            self.held.push_front(item);
        }
    }
}
