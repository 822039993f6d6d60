//! What `GET /servers` answers from: the fleet as it was about a second ago.
//!
//! However many ask, the store is read at most once a second and each view of the fleet
//! is filtered, serialized and compressed once. Only the compressed form is kept; a
//! client that takes none gets it unpacked.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hasher};
use std::io::{self, Read, Write};
use std::sync::{Arc, Condvar, Mutex, OnceLock, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use fleetbeat_protocol::Server;

use crate::fleet::query::Query;
use crate::store::{Fleet, ServerStore, StoreError, Unavailable};
use crate::sync::locked;

/// A snapshot is not read again before it is this old…
const MIN_AGE: Duration = Duration::from_secs(1);
/// …nor before it has been used this many times as long as it took to make, so that a
/// fleet that takes a second to read does not occupy a core for good.
const AGE_PER_COST: u32 = 4;
/// Views kept with a snapshot; there are as many as clients invent, and most ask for the
/// same few.
const MAX_VIEWS: usize = 16;

/// Nobody waits longer for one.
const MAX_WAIT: Duration = Duration::from_secs(3);

/// The newest snapshot and the thread that makes the next. One thread, because the memory
/// of a large fleet is then given back to where the next one takes it from.
pub(crate) struct Snapshots {
    shared: Arc<Shared>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    newest: Option<Arc<Snapshot>>,
    /// Why the last attempt gave none.
    failure: Option<StoreError>,
    attempts: u64,
    wanted: bool,
    stopping: bool,
}

/// The fleet at one moment.
struct Snapshot {
    fleet: Arc<Fleet>,
    /// When it was last known to be the truth, and how long after that it may be used
    /// unasked.
    checked: Mutex<Instant>,
    fresh_for: Duration,
    /// Each is made once, by whoever asks first; the others wait for that view alone.
    views: Mutex<HashMap<Query, Arc<OnceLock<Arc<View>>>>>,
}

/// A list of servers as it goes over the wire.
pub(crate) struct View {
    /// A weak entity tag: the same list has the same one, on every instance and in every
    /// encoding.
    pub(crate) etag: String,
    /// The JSON, compressed.
    pub(crate) gzip: Arc<Vec<u8>>,
    /// It is what was known before the database went away.
    pub(crate) stale: bool,
}

impl Snapshots {
    pub(crate) fn start(store: Arc<dyn ServerStore>) -> io::Result<Snapshots> {
        let shared = Arc::new(Shared {
            state: Mutex::default(),
            changed: Condvar::new(),
        });
        let theirs = shared.clone();
        let thread = thread::Builder::new()
            .name("snapshot".to_owned())
            .spawn(move || theirs.make_all(&*store))?;
        Ok(Snapshots {
            shared,
            thread: Mutex::new(Some(thread)),
        })
    }

    /// The servers that `query` asks for.
    pub(crate) fn view(&self, query: &Query) -> Result<Arc<View>, StoreError> {
        Ok(self.shared.current()?.view(query))
    }

    pub(crate) fn stop(&self) {
        locked(&self.shared.state).stopping = true;
        self.shared.changed.notify_all();
        if let Some(thread) = locked(&self.thread).take() {
            let _ = thread.join();
        }
    }
}

impl Shared {
    /// A snapshot that is fresh. While the next is made, the one before serves for half a
    /// period more; whoever comes later waits.
    fn current(&self) -> Result<Arc<Snapshot>, StoreError> {
        let mut state = locked(&self.state);
        if let Some(snapshot) = state.younger_than(2) {
            return Ok(snapshot);
        }
        if !state.wanted {
            state.wanted = true;
            self.changed.notify_all();
        }
        if let Some(snapshot) = state.younger_than(3) {
            return Ok(snapshot);
        }
        let attempts = state.attempts;
        let waiting = |state: &mut State| state.attempts == attempts && !state.stopping;
        let waited = self.changed.wait_timeout_while(state, MAX_WAIT, waiting);
        let state = waited.unwrap_or_else(PoisonError::into_inner).0;
        match (&state.failure, &state.newest) {
            (None, Some(newest)) if state.attempts > attempts => Ok(newest.clone()),
            (Some(failure), _) => Err(failure.clone()),
            // A large fleet is still being read: what there was is better than nothing.
            (None, Some(newest)) => Ok(newest.clone()),
            _ => Err(Unavailable::Slow(MAX_WAIT).into()),
        }
    }

    /// Makes a snapshot whenever one is wanted, until the server stops.
    fn make_all(&self, store: &dyn ServerStore) {
        loop {
            let state = locked(&self.state);
            let idle = |state: &mut State| !state.wanted && !state.stopping;
            let state = self
                .changed
                .wait_while(state, idle)
                .unwrap_or_else(PoisonError::into_inner);
            if state.stopping {
                return;
            }
            let newest = state.newest.clone();
            drop(state);
            let made = make(store, newest);
            let mut state = locked(&self.state);
            match made {
                Ok(snapshot) => (state.newest, state.failure) = (Some(snapshot), None),
                Err(error) => state.failure = Some(error),
            }
            state.attempts += 1;
            state.wanted = false;
            drop(state);
            self.changed.notify_all();
        }
    }
}

impl State {
    fn younger_than(&self, half_periods: u32) -> Option<Arc<Snapshot>> {
        let newest = self.newest.as_ref();
        newest
            .filter(|newest| {
                locked(&newest.checked).elapsed() < newest.fresh_for * half_periods / 2
            })
            .cloned()
    }
}

/// The fleet as it is; `newest` if nothing has changed since.
fn make(
    store: &dyn ServerStore,
    newest: Option<Arc<Snapshot>>,
) -> Result<Arc<Snapshot>, StoreError> {
    let started = Instant::now();
    let fleet = store.fleet(newest.as_ref().map(|newest| &newest.fleet))?;
    if let Some(newest) = newest.filter(|newest| Arc::ptr_eq(&newest.fleet, &fleet)) {
        *locked(&newest.checked) = started;
        return Ok(newest);
    }
    let fresh_for = MIN_AGE.max(started.elapsed() * AGE_PER_COST);
    Ok(Arc::new(Snapshot {
        fleet,
        checked: Mutex::new(started),
        fresh_for,
        views: Mutex::default(),
    }))
}

impl Snapshot {
    fn view(&self, query: &Query) -> Arc<View> {
        let mut views = locked(&self.views);
        if views.len() >= MAX_VIEWS && !views.contains_key(query) {
            views.clear();
        }
        let view = views.entry(query.clone()).or_default().clone();
        drop(views);
        view.get_or_init(|| {
            Arc::new(View::new(
                &query.select(&self.fleet.servers),
                self.fleet.stale,
            ))
        })
        .clone()
    }
}

impl View {
    fn new(servers: &[&Server], stale: bool) -> View {
        let mut output = HashedGzip {
            hasher: DefaultHasher::new(),
            gzip: GzEncoder::new(Vec::new(), Compression::fast()),
        };
        serde_json::to_writer(io::BufWriter::new(&mut output), servers)
            .expect("servers are plain JSON, memory takes all");
        let mut gzip = output.gzip.finish().expect("memory takes all");
        gzip.shrink_to_fit();
        View {
            etag: format!("W/\"{:016x}\"", output.hasher.finish()),
            gzip: Arc::new(gzip),
            stale,
        }
    }

    /// The JSON itself.
    pub(crate) fn json(&self) -> Vec<u8> {
        let mut json = Vec::new();
        GzDecoder::new(self.gzip.as_slice())
            .read_to_end(&mut json)
            .expect("we compressed it ourselves");
        json
    }
}

/// Compresses what is written and hashes it on the way.
struct HashedGzip {
    hasher: DefaultHasher,
    gzip: GzEncoder<Vec<u8>>,
}

impl Write for HashedGzip {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.gzip.write(bytes)?;
        self.hasher.write(&bytes[..written]);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
