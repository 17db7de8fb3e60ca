//! The engine's thread and the handle to it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc as sync;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use tokio::sync::mpsc;

use super::admit::{Admitted, Limits};
use super::engine::{Engine, Shape, Shortcuts};
use super::forward::Forward;
use super::gate::{Gate, Most, Seat};
use super::observe::{Load, Observe};
use crate::device::Turns;
use crate::domain::{Event, Reason};
use crate::model::Base;

#[derive(Debug, Clone)]
pub struct Config {
    /// Answers that run at once.
    pub rows: usize,
    /// Tokens of one step.
    pub step_tokens: usize,
    pub kv_bytes: u64,
    /// Positions of one key/value block.
    pub block_size: usize,
    /// Requests that may wait; more are refused as `Overloaded`, and so are prompts that fill the cache several times, and
    /// those of a tenant that would leave others too little of either.
    pub queue: usize,
    /// Answers of one request.
    pub max_n: u32,
    pub shortcuts: Shortcuts,
}

/// Tokens, with the alternatives reported of each, that a reader may lag behind for each answer before it is dropped.
/// Room is taken only as it is used.
const LAG: usize = 1024;
/// Events a reader may always lag behind for each answer: a step may send it many at once.
const LEAST_LAG: usize = 64;
/// Prompts that wait may together fill the cache so often; with more, the last would wait for minutes.
const CACHES: usize = 4;
/// Logits of one step that exist only to score prompts, in bytes.
const SCORE_BYTES: usize = 64 << 20;
/// How often an idle engine shows that it is alive.
const BEAT: Duration = Duration::from_millis(200);
/// How long the engine has to notice that it must end everything.
const ABORTING: Duration = Duration::from_secs(5);

/// Handle to the engine. Dropping the receiver that `submit` returns cancels the request within one step.
#[derive(Clone)]
pub struct Scheduler(Arc<Shared>);

struct Shared {
    limits: Limits,
    kv_total: usize,
    block_size: usize,
    gate: Gate,
    arrivals: sync::SyncSender<Arrival>,
    signs: Arc<Signs>,
}

struct Arrival {
    request: Admitted,
    events: mpsc::Sender<Event>,
    seat: Seat,
}

/// What the engine's thread shows and is shown.
struct Signs {
    started: Instant,
    /// Milliseconds from `started` to the newest round of the loop.
    beat: AtomicU64,
    alive: AtomicBool,
    draining: AtomicBool,
    aborting: AtomicBool,
    kv_used: AtomicUsize,
    kv_cached: AtomicUsize,
    /// Average milliseconds between two ends of requests while there is work.
    pace: AtomicU64,
    names: ArcSwap<Names>,
}

/// Adapters of running and of waiting requests.
#[derive(Default)]
struct Names {
    running: Vec<String>,
    waiting: Vec<String>,
}

impl Scheduler {
    /// Starts the engine's thread.
    pub fn start(
        base: Arc<Base>,
        turns: Turns,
        config: Config,
        observe: Arc<dyn Observe>,
    ) -> Result<Self, Reason> {
        let model = &base.model;
        let (context, vocab) = (model.context(), model.vocab());
        let shape = config.shape(model.block_bytes(config.block_size), context, vocab)?;
        let tokenizer = base.tokenizer.clone();
        let engine = Engine::new(base, tokenizer, shape, config.shortcuts, turns, observe)
            .map_err(|error| Reason::Internal(format!("the key/value cache: {error}")))?;
        Self::run(
            engine,
            shape,
            Limits {
                context,
                vocab,
                max_n: config.max_n,
                kv_tokens: 0,
            },
            config.queue,
        )
    }

    pub(super) fn run<F>(
        engine: Engine<F>,
        shape: Shape,
        limits: Limits,
        queue: usize,
    ) -> Result<Self, Reason>
    where
        F: Forward + Send + 'static,
        F::Cache: Send,
    {
        let queue = queue.max(1);
        let gate = Gate::new(Most {
            requests: queue,
            blocks: shape.blocks.saturating_mul(CACHES),
        });
        // Every arrival holds a seat of the queue, so the channel never has more than it can hold.
        let (arrivals, inbox) = sync::sync_channel(queue);
        let signs = Arc::new(Signs {
            started: Instant::now(),
            beat: AtomicU64::new(0),
            alive: AtomicBool::new(true),
            draining: AtomicBool::new(false),
            aborting: AtomicBool::new(false),
            kv_used: AtomicUsize::new(0),
            kv_cached: AtomicUsize::new(0),
            pace: AtomicU64::new(0),
            names: ArcSwap::default(),
        });
        let worker = Worker {
            engine,
            inbox,
            signs: signs.clone(),
            ended: 0,
            last_end: Instant::now(),
            changes: 0,
            resting: true,
        };
        std::thread::Builder::new()
            .name("engine".into())
            .spawn(move || worker.run())
            .map_err(|error| Reason::Internal(format!("the engine's thread: {error}")))?;
        Ok(Self(Arc::new(Shared {
            limits: Limits {
                kv_tokens: shape.blocks * shape.block_size,
                ..limits
            },
            kv_total: shape.blocks,
            block_size: shape.block_size,
            gate,
            arrivals,
            signs,
        })))
    }

    pub fn limits(&self) -> Limits {
        self.0.limits
    }

    /// Queues a request. Its events arrive in order; the last is `Done` or `Failed`.
    pub fn submit(&self, request: Admitted) -> Result<mpsc::Receiver<Event>, Reason> {
        let Shared {
            gate,
            arrivals,
            signs,
            ..
        } = &*self.0;
        if signs.draining.load(Ordering::Acquire) {
            return Err(Reason::Draining);
        }
        let blocks = request.prompt.len().div_ceil(self.0.block_size);
        let seat = gate
            .enter(request.terms.tenant, blocks)
            .ok_or_else(|| self.overloaded())?;
        let (events, reader) = mpsc::channel(lag(&request) + 1);
        arrivals
            .try_send(Arrival {
                request,
                events,
                seat,
            })
            .map_err(|error| match error {
                sync::TrySendError::Full(_) => self.overloaded(),
                sync::TrySendError::Disconnected(_) => {
                    Reason::Internal("the engine has stopped".into())
                }
            })?;
        Ok(reader)
    }

    pub fn load(&self) -> Load {
        let Shared { gate, signs, .. } = &*self.0;
        let names = signs.names.load();
        let waiting = gate.waiting();
        Load {
            waiting,
            running: gate.inside().saturating_sub(waiting),
            kv_used: signs.kv_used.load(Ordering::Relaxed),
            kv_cached: signs.kv_cached.load(Ordering::Relaxed),
            kv_total: self.0.kv_total,
            block_size: self.0.block_size,
            running_adapters: names.running.clone(),
            waiting_adapters: names.waiting.clone(),
        }
    }

    /// Milliseconds since the engine last came round its loop; `None` when its thread has ended.
    pub fn heartbeat(&self) -> Option<u64> {
        let signs = &self.0.signs;
        let now = signs.started.elapsed().as_millis() as u64;
        signs
            .alive
            .load(Ordering::Acquire)
            .then(|| now.saturating_sub(signs.beat.load(Ordering::Relaxed)))
    }

    /// Takes no new requests. Resolves when all have ended; those left at the deadline fail with `Draining`.
    pub async fn drain(&self, deadline: Duration) {
        let Shared { gate, signs, .. } = &*self.0;
        signs.draining.store(true, Ordering::Release);
        if tokio::time::timeout(deadline, gate.empty()).await.is_err() {
            signs.aborting.store(true, Ordering::Release);
            if tokio::time::timeout(ABORTING, gate.empty()).await.is_err() {
                tracing::warn!(
                    left = gate.inside(),
                    "the engine did not end its requests in time"
                );
            }
        }
        // A request's seat is free a moment before the engine, at its next round, shows its blocks as free.
        let freed = async {
            while signs.kv_used.load(Ordering::Acquire) > 0 {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        if tokio::time::timeout(ABORTING, freed).await.is_err() {
            tracing::warn!("the engine did not free its blocks in time");
        }
    }

    /// Until half of a full queue has gone, at the present pace.
    fn overloaded(&self) -> Reason {
        let pace = self.0.signs.pace.load(Ordering::Relaxed);
        let wait = pace
            .saturating_mul(self.0.gate.waiting() as u64 / 2)
            .div_ceil(1000);
        Reason::Overloaded {
            retry_after: wait.clamp(1, 60),
        }
    }
}

/// Events that may wait for the reader: fewer where each holds alternatives, so that a reader that has stopped does not
/// hold more memory the more alternatives it asked for.
fn lag(request: &Admitted) -> usize {
    let told = 1 + request.sampling.logprobs.map_or(0, usize::from);
    (LAG / told).max(LEAST_LAG) * request.n as usize
}

impl Config {
    /// Blocks of a cache for texts of `context` positions: as many as the memory holds, but no more than all rows can ever
    /// use.
    pub fn cache_blocks(&self, block_bytes: u64, context: usize) -> usize {
        let affordable = usize::try_from(self.kv_bytes / block_bytes.max(1)).unwrap_or(usize::MAX);
        let of_a_row = context.div_ceil(self.block_size.max(1));
        let useful = self.rows.saturating_mul(of_a_row);
        affordable.min(useful).min(u32::MAX as usize)
    }

    fn shape(&self, block_bytes: u64, context: usize, vocab: usize) -> Result<Shape, Reason> {
        let block_size = self.block_size;
        if self.rows == 0 || block_size == 0 {
            return Err(Reason::field(
                "engine",
                "rows and block_size are at least 1",
            ));
        }
        let blocks = self.cache_blocks(block_bytes, context);
        if blocks == 0 {
            return Err(Reason::field(
                "engine.kv_bytes",
                format!(
                    "{} bytes hold no block of {block_bytes} bytes",
                    self.kv_bytes
                ),
            ));
        }
        let step_tokens = self.step_tokens.max(self.rows);
        let scored = (SCORE_BYTES / (4 * vocab.max(1))).clamp(1, step_tokens);
        Ok(Shape {
            rows: self.rows,
            step_tokens,
            scored,
            blocks,
            block_size,
        })
    }
}

/// The loop. When it ends, by whatever way, `alive` says so.
struct Worker<F: Forward> {
    engine: Engine<F>,
    inbox: sync::Receiver<Arrival>,
    signs: Arc<Signs>,
    ended: u64,
    last_end: Instant,
    changes: u64,
    /// The engine has nothing to do until something arrives.
    resting: bool,
}

impl<F: Forward> Worker<F> {
    fn run(mut self) {
        loop {
            let now = self.signs.started.elapsed().as_millis() as u64;
            self.signs.beat.store(now, Ordering::Relaxed);
            if !self.receive() {
                break;
            }
            if self.signs.aborting.load(Ordering::Acquire) {
                self.engine.abort(&Reason::Draining);
            }
            self.resting = !self.engine.turn();
            self.show();
        }
    }

    /// Takes in all that arrived; an engine with nothing to do waits for it, one beat at most, so that readers who leave
    /// are noticed. False when no sender is left and the engine is idle.
    fn receive(&mut self) -> bool {
        let idle = self.engine.is_idle();
        if idle {
            self.last_end = Instant::now();
        }
        if idle || self.resting {
            match self.inbox.recv_timeout(BEAT) {
                Ok(arrival) => self.accept(arrival),
                Err(sync::RecvTimeoutError::Disconnected) if idle => return false,
                Err(_) => {}
            }
        }
        while let Ok(arrival) = self.inbox.try_recv() {
            self.accept(arrival);
        }
        true
    }

    fn accept(&mut self, arrival: Arrival) {
        self.engine
            .accept(arrival.request, arrival.events, arrival.seat);
    }

    fn show(&mut self) {
        let signs = &self.signs;
        let pool = self.engine.pool();
        signs
            .kv_used
            .store(pool.total() - pool.free(), Ordering::Relaxed);
        signs.kv_cached.store(pool.cached(), Ordering::Relaxed);
        let ended = self.engine.ended() - self.ended;
        let passed = self.last_end.elapsed().as_millis() as u64;
        if let Some(each) = passed.checked_div(ended) {
            let before = signs.pace.load(Ordering::Relaxed);
            let pace = if before == 0 {
                each
            } else {
                (7 * before + each) / 8
            };
            signs.pace.store(pace, Ordering::Relaxed);
            self.ended += ended;
            self.last_end = Instant::now();
        }
        if self.changes != self.engine.changes() {
            self.changes = self.engine.changes();
            signs.names.store(Arc::new(self.names()));
        }
    }

    fn names(&self) -> Names {
        let of = |begun: bool| {
            let leases = self
                .engine
                .requests()
                .filter(|r| r.has_begun() == begun)
                .filter_map(|r| r.lease.as_ref());
            let names = leases.flat_map(|lease| lease.names());
            let mut names: Vec<String> = names.map(ToString::to_string).collect();
            names.sort_unstable();
            names.dedup();
            names
        };
        Names {
            running: of(true),
            waiting: of(false),
        }
    }
}

impl<F: Forward> Drop for Worker<F> {
    fn drop(&mut self) {
        self.engine.rest();
        self.signs.alive.store(false, Ordering::Release);
    }
}
