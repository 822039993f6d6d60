//! What `GET /servers` answers from: the fleet as it was at most a second ago.
//!
//! However many ask, the store is read at most once a second and each view of the fleet is filtered,
//! serialized and compressed once. Only the compressed form is kept; a client that takes none gets it
//! unpacked.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hasher};
use std::io::{self, Read, Write};
use std::sync::{Arc, Mutex, TryLockError};
use std::time::{Duration, Instant};

use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use fleetbeat_protocol::Server;

use crate::query::Query;
use crate::store::{Store, StoreError};
use crate::sync::locked;

/// A snapshot is not read again before it is this old…
const MIN_AGE: Duration = Duration::from_secs(1);
/// …nor before it has been used this many times as long as it took to make, so that a fleet that takes a
/// second to read does not occupy a core for good.
const AGE_PER_COST: u32 = 4;
/// Views kept with a snapshot; there are as many as clients invent, and most ask for the same few.
const MAX_VIEWS: usize = 16;

/// The newest snapshot, and the store it is made from.
pub(crate) struct Snapshots {
    store: Arc<dyn Store>,
    newest: Mutex<Option<Arc<Snapshot>>>,
    /// Held by whoever makes the next one.
    making: Mutex<()>,
}

/// The fleet at one moment.
struct Snapshot {
    revision: u64,
    servers: Vec<Server>,
    /// When it was last known to be the truth, and how long after that it may be used unasked.
    checked: Mutex<Instant>,
    fresh_for: Duration,
    views: Mutex<HashMap<Query, Arc<View>>>,
}

/// A list of servers as it goes over the wire.
pub(crate) struct View {
    /// A weak entity tag: the same list has the same one, on every instance and in every encoding.
    pub(crate) etag: String,
    /// The JSON, compressed.
    pub(crate) gzip: Arc<Vec<u8>>,
}

impl Snapshots {
    pub(crate) fn new(store: Arc<dyn Store>) -> Snapshots {
        Snapshots { store, newest: Mutex::new(None), making: Mutex::new(()) }
    }

    /// The servers that `query` asks for.
    pub(crate) fn view(&self, query: &Query) -> Result<Arc<View>, StoreError> {
        Ok(self.current()?.view(query))
    }

    /// A snapshot that is fresh. While one thread makes the next, the others use the one before for up to
    /// one more period, and after that wait.
    fn current(&self) -> Result<Arc<Snapshot>, StoreError> {
        let usable = |periods| {
            let newest = locked(&self.newest).clone();
            newest.filter(|snapshot| locked(&snapshot.checked).elapsed() < snapshot.fresh_for * periods)
        };
        if let Some(snapshot) = usable(1) {
            return Ok(snapshot);
        }
        let _making = match self.making.try_lock() {
            Ok(making) => making,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => match usable(2) {
                Some(snapshot) => return Ok(snapshot),
                None => locked(&self.making),
            },
        };
        if let Some(snapshot) = usable(1) {
            return Ok(snapshot);
        }
        self.make()
    }

    fn make(&self) -> Result<Arc<Snapshot>, StoreError> {
        let started = Instant::now();
        // Read before the servers: a change in between makes the next snapshot, not a missed one.
        let revision = self.store.revision();
        let newest = locked(&self.newest).clone();
        if let Some(newest) = newest.filter(|newest| newest.revision == revision) {
            *locked(&newest.checked) = started;
            return Ok(newest);
        }
        let servers = self.store.servers()?;
        let fresh_for = MIN_AGE.max(started.elapsed() * AGE_PER_COST);
        let views = Mutex::default();
        let snapshot =
            Arc::new(Snapshot { revision, servers, checked: Mutex::new(started), fresh_for, views });
        *locked(&self.newest) = Some(snapshot.clone());
        Ok(snapshot)
    }
}

impl Snapshot {
    fn view(&self, query: &Query) -> Arc<View> {
        // Made under the lock: whoever asks for the same view meanwhile would only make it again.
        let mut views = locked(&self.views);
        if let Some(view) = views.get(query) {
            return view.clone();
        }
        let view = Arc::new(View::new(&query.select(&self.servers)));
        if views.len() < MAX_VIEWS {
            views.insert(query.clone(), view.clone());
        }
        view
    }
}

impl View {
    fn new(servers: &[&Server]) -> View {
        let mut output = HashedGzip {
            hasher: DefaultHasher::new(),
            gzip: GzEncoder::new(Vec::new(), Compression::fast()),
        };
        serde_json::to_writer(io::BufWriter::new(&mut output), servers)
            .expect("servers are plain JSON, memory takes all");
        let mut gzip = output.gzip.finish().expect("memory takes all");
        gzip.shrink_to_fit();
        View { etag: format!("W/\"{:016x}\"", output.hasher.finish()), gzip: Arc::new(gzip) }
    }

    /// The JSON itself.
    pub(crate) fn json(&self) -> Vec<u8> {
        let mut json = Vec::new();
        GzDecoder::new(self.gzip.as_slice()).read_to_end(&mut json).expect("we compressed it ourselves");
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
