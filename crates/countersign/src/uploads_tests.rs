//! Quotas, needs and removal, on real files.

use countersign_core::id::AgentId;
use countersign_runner::inputs::{Bind, Keep, Limits, pack, receive};
use countersign_store::MemoryStore;
use tempfile::TempDir;

use super::*;

const QUOTA: Quota = Quota {
    bytes: 10_000,
    count: 3,
};

struct Bench {
    dir: TempDir,
    uploads: Uploads,
}

fn agent(name: &str) -> SubjectId {
    SubjectId::Agent(name.parse::<AgentId>().unwrap())
}

fn id(n: u128) -> RequestId {
    RequestId::from_bits(n)
}

fn received(text: &str) -> Received {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("file"), text).unwrap();
    let bind = Bind {
        source: dir.path().to_owned(),
        name: ".".into(),
    };
    let packed = pack(&[bind], &Keep::Everything, &Limits::default()).unwrap();
    receive(packed.archive, &Limits::default()).unwrap()
}

async fn open(dir: &TempDir, now: i64) -> Uploads {
    let path = dir.path().join("inputs");
    let files = Arc::new(InputStore::new(&path, Limits::default()).unwrap());
    let store = Arc::new(MemoryStore::new());
    Uploads::open(files, store, Timestamp(now)).await.unwrap()
}

impl Bench {
    async fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let uploads = open(&dir, 0).await;
        Self { dir, uploads }
    }

    fn put(&self, who: &str, text: &str, now: i64) -> Result<Hash, UploadError> {
        self.uploads
            .put(&agent(who), received(text), QUOTA, Timestamp(now))
    }

    fn has(&self, digest: Hash) -> bool {
        let path = self.dir.path().join(format!("inputs/{digest}.tar"));
        assert_eq!(path.exists(), self.uploads.all().contains_key(&digest));
        path.exists()
    }
}

const HOUR: i64 = 60 * 60_000;

#[tokio::test]
async fn a_subject_keeps_so_many_and_so_much() {
    let bench = Bench::new().await;
    for text in ["a", "b", "c"] {
        bench.put("one", text, 0).unwrap();
    }
    // The same again is no further one.
    bench.put("one", "c", 0).unwrap();
    assert!(matches!(
        bench.put("one", "d", 0),
        Err(UploadError::TooMany(..))
    ));
    bench.put("two", "a", 0).unwrap();
    let large = "x".repeat(9_000);
    assert!(matches!(
        bench.put("two", &large, 0),
        Err(UploadError::TooMuch(..))
    ));
    let digest = received(&large).manifest().digest();
    assert!(!bench.has(digest));
}

#[tokio::test]
async fn inputs_go_with_their_request_or_after_an_hour() {
    let bench = Bench::new().await;
    let (held, unused) = (
        bench.put("one", "a", 0).unwrap(),
        bench.put("one", "b", 0).unwrap(),
    );
    bench.uploads.refer(held, &id(1), &agent("one"));
    bench.uploads.sweep(Timestamp(HOUR - 1));
    assert!(bench.has(held) && bench.has(unused));
    bench.uploads.sweep(Timestamp(HOUR));
    assert!(bench.has(held) && !bench.has(unused));
    bench.uploads.release(&id(2));
    assert!(bench.has(held));
    bench.uploads.release(&id(1));
    assert!(!bench.has(held));
    for text in ["c", "d", "e"] {
        bench.put("one", text, HOUR).unwrap();
    }
}

#[tokio::test]
async fn what_somebody_else_needs_or_just_sent_stays() {
    let bench = Bench::new().await;
    let digest = bench.put("one", "a", 0).unwrap();
    bench.put("two", "a", 0).unwrap();
    bench.uploads.refer(digest, &id(1), &agent("one"));
    bench.uploads.refer(digest, &id(2), &agent("one"));
    bench.uploads.release(&id(1));
    assert!(bench.has(digest));
    bench.uploads.release(&id(2));
    assert!(bench.has(digest));
    let pin = bench.uploads.pin(digest);
    bench.uploads.sweep(Timestamp(HOUR));
    assert!(bench.has(digest));
    drop(pin);
    bench.uploads.sweep(Timestamp(HOUR));
    assert!(!bench.has(digest));
    // A request that ends while another call is on its way.
    let digest = bench.put("one", "a", 0).unwrap();
    bench.uploads.refer(digest, &id(1), &agent("one"));
    let pin = bench.uploads.pin(digest);
    bench.uploads.release(&id(1));
    assert!(bench.has(digest));
    drop(pin);
    assert!(!bench.has(digest));
}

#[tokio::test]
async fn whoever_names_what_is_not_there_yet_takes_nothing_from_others() {
    let bench = Bench::new().await;
    let early = bench.uploads.pin(received("a").manifest().digest());
    let digest = bench.put("one", "a", 0).unwrap();
    bench.uploads.refer(digest, &id(1), &agent("one"));
    let pin = bench.uploads.pin(digest);
    drop(early);
    bench.uploads.release(&id(1));
    assert!(bench.has(digest), "another call needs it");
    drop(pin);
    assert!(!bench.has(digest));
}

/// What a request keeps counts, although another request with the same inputs has ended.
#[tokio::test]
async fn what_a_request_needs_counts_for_its_requester() {
    let bench = Bench::new().await;
    for (n, text) in (0..).zip(["a", "b", "c"]) {
        let digest = bench.put("one", text, 0).unwrap();
        let pin = bench.uploads.pin(digest);
        bench.uploads.refer(digest, &id(n), &agent("one"));
        bench.uploads.release(&id(n));
        bench.uploads.refer(digest, &id(10 + n), &agent("one"));
        drop(pin);
    }
    assert!(matches!(
        bench.put("one", "d", 0),
        Err(UploadError::TooMany(..))
    ));
}

#[tokio::test]
async fn a_restart_knows_who_keeps_what() {
    let bench = Bench::new().await;
    for text in ["a", "b", "c"] {
        bench.put("one", text, 0).unwrap();
    }
    let stray = bench
        .dir
        .path()
        .join(format!("inputs/{}.tar", Hash::of(b"stray")));
    std::fs::write(&stray, "x").unwrap();
    std::fs::write(bench.dir.path().join("inputs/.tmpHalf"), "x").unwrap();
    let again = Bench {
        uploads: open(&bench.dir, 10).await,
        dir: bench.dir,
    };
    assert!(!again.dir.path().join("inputs/.tmpHalf").exists());
    assert!(matches!(
        again.put("one", "d", 10),
        Err(UploadError::TooMany(..))
    ));
    again.uploads.sweep(Timestamp(HOUR));
    assert!(stray.exists());
    again.uploads.sweep(Timestamp(HOUR + 10));
    assert!(!stray.exists());
    assert!(again.uploads.all().is_empty());
}
