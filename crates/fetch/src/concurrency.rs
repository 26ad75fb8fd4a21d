//! How many requests are under way at the same time: a number that is given, or one that is found while the run goes on.
//!
//! What is best depends on how far away the servers are, how wide the line is and how fast this machine decodes, and it
//! changes. So the run is cut into rounds of about as many answers as there are connections, at least a quarter of a second
//! long, and after each one [`Controller::round`] looks at what came:
//!
//! | seen | done |
//! | --- | --- |
//! | the process ran out of open files | half as many connections, and never more again |
//! | bodies wait for the image threads, four or more for each | a sixteenth fewer: the machine is the limit, and what waits takes memory |
//! | one to four bodies wait for each | nothing: every thread has work |
//! | fewer requests under way than allowed | nothing: single hosts or the table are the limit |
//! | at the start: a quarter more arrived each second than in the round before | twice as many |
//! | later, by turns: an eighth more, or fewer, for two rounds | kept if the gain is worth it, taken back if not |
//!
//! What arrives is counted in bytes, and 4 KiB for each answer, so that a run of failures is not taken for rest. An eighth
//! more connections are worth it when they bring a sixteenth more, and an eighth fewer when they cost less than that: where
//! the line or the servers are the limit, the number comes to rest where more of them would only wait.
//!
//! Limits for single hosts and the memory budget hold whatever the number is, and no number changes the bytes of the
//! output.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::{AcquireError, Semaphore};

/// Connections at the start.
pub(crate) const START: usize = 16;
/// Fewest connections.
const LEAST: usize = 4;
/// Most connections that are tried; the usual limit of open files is 1024.
const MOST: usize = 768;
/// Least memory of bodies for each connection.
const BODY: u64 = 64 << 10;
/// What an answer counts beside its bytes.
const ANSWER: f64 = 4096.0;
/// Rounds after which a step is judged.
const JUDGED_AFTER: u32 = 2;
/// Rounds between a step that was taken back and the next one; doubles to [`LONGEST_REST`] while nothing changes.
const REST: u32 = 4;
const LONGEST_REST: u32 = 32;
/// How often the round is looked at.
pub(crate) const TICK: Duration = Duration::from_millis(50);
/// Shortest and longest round, the latter for servers that do not answer.
const SHORTEST_ROUND: Duration = Duration::from_millis(250);
const LONGEST_ROUND: Duration = Duration::from_secs(5);

/// What happened in a round.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Round {
    pub(crate) elapsed: Duration,
    /// Bytes of bodies that arrived.
    pub(crate) bytes: u64,
    /// Requests that ended, well or not.
    pub(crate) answers: u64,
    /// Requests under way, on average.
    pub(crate) under_way: f64,
    /// Bodies that waited for an image thread, on average.
    pub(crate) queued: f64,
    /// Whether there was no open file left.
    pub(crate) is_starved: bool,
}

impl Round {
    /// Whether it says enough about `limit` connections.
    pub(crate) fn is_over(&self, limit: usize) -> bool {
        let is_long = self.elapsed >= SHORTEST_ROUND && self.answers >= limit as u64;
        self.is_starved || is_long || self.elapsed >= LONGEST_ROUND
    }

    /// What arrived each second.
    fn rate(&self) -> f64 {
        let arrived = self.bytes as f64 + ANSWER * self.answers as f64;
        arrived / self.elapsed.as_secs_f64().max(1e-3)
    }
}

/// Decides after each round how many connections there are.
#[derive(Debug)]
pub(crate) struct Controller {
    limit: usize,
    most: usize,
    threads: f64,
    phase: Phase,
}

#[derive(Clone, Copy, Debug)]
enum Phase {
    /// Twice as many each time, as long as it brings something; what came before.
    Start { before: f64 },
    /// Measures what the present number brings, `rounds` of it so far, before a step.
    Measure {
        sum: f64,
        rounds: u32,
        rest: u32,
        goes_up: bool,
    },
    /// A step was taken from `from` connections, which brought `before`.
    Step {
        from: usize,
        before: f64,
        sum: f64,
        rounds: u32,
        goes_up: bool,
        rest: u32,
    },
    /// Nothing is tried for some rounds.
    Rest { left: u32, rest: u32, goes_up: bool },
}

impl Phase {
    fn measure(goes_up: bool, rest: u32) -> Self {
        Self::Measure {
            sum: 0.0,
            rounds: 0,
            rest,
            goes_up,
        }
    }
}

impl Controller {
    /// For `threads` image threads and `memory` bytes of bodies.
    pub(crate) fn new(threads: usize, memory: u64) -> Self {
        let fits = usize::try_from(memory / BODY).unwrap_or(usize::MAX);
        let most = MOST.min(fits).max(LEAST);
        Self {
            limit: START.min(most),
            most,
            threads: threads.max(1) as f64,
            phase: Phase::Start { before: 0.0 },
        }
    }

    /// Connections at present.
    pub(crate) fn limit(&self) -> usize {
        self.limit
    }

    /// Takes what happened; returns how many connections there are to be.
    pub(crate) fn round(&mut self, round: &Round) -> usize {
        if round.is_starved {
            self.most = (self.limit / 2).max(LEAST);
            self.limit = self.most;
            self.phase = Phase::measure(false, REST);
        } else if round.queued >= 4.0 * self.threads {
            self.limit = (self.limit - self.limit.div_ceil(16)).max(LEAST);
            self.phase = Phase::measure(true, REST);
        } else if round.queued >= self.threads || round.under_way < 0.8 * self.limit as f64 {
            self.leave_start();
        } else {
            self.climb(round.rate());
        }
        self.limit
    }

    /// What was begun under other conditions says nothing.
    fn leave_start(&mut self) {
        if !matches!(self.phase, Phase::Start { .. } | Phase::Rest { .. }) {
            self.phase = Phase::measure(true, REST);
        }
    }

    /// The network is the limit: finds the number that brings most and no more than that.
    fn climb(&mut self, rate: f64) {
        self.phase = match self.phase {
            Phase::Start { before } if rate >= 1.25 * before && self.limit < self.most => {
                self.limit = (2 * self.limit).min(self.most);
                Phase::Start { before: rate }
            }
            Phase::Start { .. } => Phase::measure(false, REST),
            Phase::Measure {
                sum,
                rounds,
                rest,
                goes_up,
            } => {
                let (sum, rounds) = (sum + rate, rounds + 1);
                if rounds < JUDGED_AFTER {
                    Phase::Measure {
                        sum,
                        rounds,
                        rest,
                        goes_up,
                    }
                } else {
                    self.step(sum / f64::from(rounds), goes_up, rest)
                }
            }
            Phase::Step {
                from,
                before,
                sum,
                rounds,
                goes_up,
                rest,
            } => {
                let (sum, rounds) = (sum + rate, rounds + 1);
                if rounds < JUDGED_AFTER {
                    Phase::Step {
                        from,
                        before,
                        sum,
                        rounds,
                        goes_up,
                        rest,
                    }
                } else {
                    self.judge((from, before), sum / f64::from(rounds), goes_up, rest)
                }
            }
            Phase::Rest {
                left,
                rest,
                goes_up,
            } if left > 0 => Phase::Rest {
                left: left - 1,
                rest,
                goes_up,
            },
            Phase::Rest { rest, goes_up, .. } => Phase::measure(goes_up, rest),
        };
    }

    fn step(&mut self, before: f64, goes_up: bool, rest: u32) -> Phase {
        let from = self.limit;
        let eighth = from.div_ceil(8);
        self.limit = if goes_up {
            (from + eighth).min(self.most)
        } else {
            (from - eighth).max(LEAST)
        };
        Phase::Step {
            from,
            before,
            sum: 0.0,
            rounds: 0,
            goes_up,
            rest,
        }
    }

    fn judge(
        &mut self,
        (from, before): (usize, f64),
        rate: f64,
        goes_up: bool,
        rest: u32,
    ) -> Phase {
        let change = self.limit as f64 / from as f64 - 1.0;
        let is_worth_it = rate >= before * (1.0 + change / 2.0);
        if is_worth_it && self.limit != from {
            // Further in the same direction.
            return self.step(rate, goes_up, REST);
        }
        self.limit = from;
        Phase::Rest {
            left: rest,
            rest: (2 * rest).min(LONGEST_REST),
            goes_up: !goes_up,
        }
    }
}

/// Connections whose number may change while they are in use.
#[derive(Debug)]
pub(crate) struct Connections {
    free: Semaphore,
    limit: AtomicUsize,
    /// Connections that are in use and are not to be used again.
    surplus: AtomicUsize,
    /// Requests that have ended and the bytes of their bodies.
    pub(crate) answers: AtomicU64,
    pub(crate) bytes: AtomicU64,
    /// How often there was no open file left.
    pub(crate) starved: AtomicU64,
}

/// The right to a request; given back when dropped.
#[derive(Debug)]
pub(crate) struct Connection<'a> {
    of: &'a Connections,
}

impl Connections {
    pub(crate) fn new(limit: usize) -> Self {
        let limit = limit.clamp(1, Semaphore::MAX_PERMITS);
        Self {
            free: Semaphore::new(limit),
            limit: AtomicUsize::new(limit),
            surplus: AtomicUsize::new(0),
            answers: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            starved: AtomicU64::new(0),
        }
    }

    /// Waits for a connection.
    pub(crate) async fn acquire(&self) -> Result<Connection<'_>, AcquireError> {
        self.free.acquire().await?.forget();
        Ok(Connection { of: self })
    }

    /// How many there may be.
    pub(crate) fn limit(&self) -> usize {
        self.limit.load(Ordering::SeqCst)
    }

    /// How many are in use.
    pub(crate) fn under_way(&self) -> usize {
        let all = self.limit() + self.surplus.load(Ordering::SeqCst);
        all.saturating_sub(self.free.available_permits())
    }

    /// Changes how many there may be; those in use beyond it end with their requests. Only one task calls this.
    pub(crate) fn set_limit(&self, limit: usize) {
        let limit = limit.clamp(1, Semaphore::MAX_PERMITS);
        let before = self.limit.swap(limit, Ordering::SeqCst);
        if limit < before {
            let gone = self.free.forget_permits(before - limit);
            self.surplus
                .fetch_add(before - limit - gone, Ordering::SeqCst);
        } else {
            let more = limit - before;
            let kept = take(&self.surplus, more);
            self.free.add_permits(more - kept);
        }
    }
}

/// Takes up to `wanted` from a number; how much it was.
fn take(number: &AtomicUsize, wanted: usize) -> usize {
    let less = |there: usize| Some(there - there.min(wanted));
    let there = number
        .fetch_update(Ordering::SeqCst, Ordering::SeqCst, less)
        .unwrap_or_default();
    there.min(wanted)
}

impl Drop for Connection<'_> {
    fn drop(&mut self) {
        self.of.answers.fetch_add(1, Ordering::Relaxed);
        if take(&self.of.surplus, 1) == 0 {
            self.of.free.add_permits(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use sightline_core::Seed;

    use super::*;

    /// A network and a machine, as far as they matter here.
    #[derive(Clone, Copy)]
    struct World {
        latency_s: f64,
        /// Bytes each second of the line.
        line: f64,
        body: f64,
        /// Images each second that the machine makes.
        images: f64,
        /// Share by which a round may differ.
        noise: f64,
    }

    impl World {
        /// What `limit` connections bring: images each second, and whether bodies wait.
        fn rate(&self, limit: usize) -> (f64, bool) {
            let offered = (limit as f64 / self.latency_s).min(self.line / self.body);
            (offered.min(self.images), offered > self.images)
        }

        /// The fewest connections that bring most.
        fn knee(&self) -> f64 {
            self.images.min(self.line / self.body) * self.latency_s
        }
    }

    /// Runs `rounds` rounds on the `controller`; the mean rate of the last half as a share of the best, and the connections
    /// at the end of each.
    fn run(controller: &mut Controller, world: World, rounds: usize) -> (f64, Vec<usize>) {
        let mut rng = Seed(3).child("rounds", 0).rng();
        let (best, _) = world.rate(usize::MAX >> 16);
        let (mut sum, mut limits, mut queue) = (0.0, Vec::new(), 0.0f64);
        for at in 0..rounds {
            let limit = controller.limit();
            let (rate, waits) = world.rate(limit);
            let rate = rate * (1.0 + world.noise * rng.between(-1.0, 1.0));
            let seconds = (limit as f64 / rate).max(0.25);
            queue = if waits {
                (queue + limit as f64).min(500.0)
            } else {
                0.0
            };
            controller.round(&Round {
                elapsed: Duration::from_secs_f64(seconds),
                bytes: (rate * seconds * world.body) as u64,
                answers: (rate * seconds) as u64,
                under_way: limit as f64,
                queued: queue,
                is_starved: false,
            });
            limits.push(controller.limit());
            if at >= rounds / 2 {
                sum += rate.min(best);
            }
        }
        (sum / (rounds - rounds / 2) as f64 / best, limits)
    }

    fn worlds() -> Vec<(&'static str, World)> {
        let world = |latency_s, line, images| World {
            latency_s,
            line,
            body: 1e5,
            images,
            noise: 0.05,
        };
        vec![
            (
                "far servers, wide line, fast machine",
                world(0.3, 1e9, 1500.0),
            ),
            ("near servers, slow machine", world(0.02, 1e9, 700.0)),
            ("narrow line", world(0.2, 2e7, 5000.0)),
            ("far servers, narrow line", world(1.0, 2e7, 5000.0)),
        ]
    }

    #[test]
    fn the_best_number_is_found_in_every_world_and_little_more() {
        for (name, world) in worlds() {
            let mut controller = Controller::new(16, 1 << 30);
            let (share, limits) = run(&mut controller, world, 400);
            assert!(share > 0.9, "{name}: {share:.2} of the best rate");
            let knee = world.knee();
            let late = &limits[200..];
            let mean = late.iter().sum::<usize>() as f64 / late.len() as f64;
            assert!(
                mean < 2.0 * knee + 16.0,
                "{name}: {mean:.0} connections where {knee:.0} are enough"
            );
        }
    }

    #[test]
    fn it_gets_there_within_a_few_rounds() {
        let (_, far) = worlds()[0];
        let mut controller = Controller::new(16, 1 << 30);
        let (_, limits) = run(&mut controller, far, 6);
        assert!(limits[5] >= 400, "{limits:?}");
    }

    #[test]
    fn it_follows_a_network_that_changes() {
        let worlds = worlds();
        let mut controller = Controller::new(16, 1 << 30);
        for (name, world) in [worlds[0], worlds[1], worlds[3], worlds[1]] {
            let (share, _) = run(&mut controller, world, 400);
            assert!(share > 0.85, "{name}: {share:.2} of the best rate");
        }
    }

    #[test]
    fn memory_files_and_hosts_hold_it_back() {
        let busy = Round {
            elapsed: Duration::from_secs(1),
            bytes: 1 << 30,
            answers: 1000,
            under_way: 1000.0,
            ..Round::default()
        };
        let mut small = Controller::new(2, 1 << 20);
        for more in 1..20 {
            small.round(&Round {
                bytes: busy.bytes * more,
                ..busy
            });
            assert!(small.limit() <= 16);
        }
        let mut starved = Controller::new(2, 1 << 30);
        for more in 1..20 {
            let limit = starved.round(&Round {
                bytes: busy.bytes * more,
                is_starved: more == 4,
                ..busy
            });
            assert!(more < 4 || limit <= 64, "{limit}");
        }
        let mut one_host = Controller::new(2, 1 << 30);
        for more in 1..20 {
            one_host.round(&Round {
                bytes: busy.bytes * more,
                under_way: 4.0,
                ..busy
            });
        }
        assert_eq!(one_host.limit(), START);
    }

    #[test]
    fn a_round_ends_with_its_answers_or_in_time() {
        let round = |ms, answers| Round {
            elapsed: Duration::from_millis(ms),
            answers,
            ..Round::default()
        };
        assert!(!round(100, 1000).is_over(16));
        assert!(!round(1000, 15).is_over(16));
        assert!(round(300, 16).is_over(16));
        assert!(round(5000, 0).is_over(16));
    }

    #[test]
    fn connections_in_use_outlive_a_smaller_number() {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .unwrap();
        runtime.block_on(async {
            let connections = Connections::new(4);
            let mut used = Vec::new();
            for _ in 0..3 {
                used.push(connections.acquire().await.unwrap());
            }
            connections.set_limit(2);
            assert_eq!(
                (
                    connections.under_way(),
                    connections.free.available_permits()
                ),
                (3, 0)
            );
            used.pop();
            assert_eq!(
                (
                    connections.under_way(),
                    connections.free.available_permits()
                ),
                (2, 0)
            );
            connections.set_limit(1);
            connections.set_limit(3);
            assert_eq!(connections.free.available_permits(), 1);
            used.clear();
            assert_eq!(
                (
                    connections.under_way(),
                    connections.free.available_permits()
                ),
                (0, 3)
            );
            assert_eq!(connections.answers.load(Ordering::Relaxed), 3);
        });
    }
}
