//! The GCS server as object_store sees it.
use std::time::Duration;

use bytes::Bytes;
use futures::TryStreamExt;
use kappa_tests::gcs_server::GcsServer;
use object_store::gcp::{GoogleCloudStorage, GoogleCloudStorageBuilder};
use object_store::path::Path;
use object_store::{
    BackoffConfig, ClientOptions, CopyOptions, Error, ObjectStore, ObjectStoreExt, PutMode,
    PutOptions, RetryConfig,
};

const BUCKET: &str = "kappa";

fn store_with(server: &GcsServer, retries: usize) -> GoogleCloudStorage {
    GoogleCloudStorageBuilder::new()
        .with_bucket_name(BUCKET)
        .with_service_account_key(server.service_account_key())
        .with_client_options(ClientOptions::new().with_allow_http(true))
        .with_retry(RetryConfig {
            max_retries: retries,
            retry_timeout: Duration::from_secs(20),
            backoff: BackoffConfig {
                init_backoff: Duration::from_millis(5),
                max_backoff: Duration::from_millis(20),
                base: 2.0,
            },
        })
        .build()
        .unwrap()
}

fn store(server: &GcsServer) -> GoogleCloudStorage {
    store_with(server, 5)
}

fn create() -> PutOptions {
    PutOptions::from(PutMode::Create)
}

async fn names(store: &dyn ObjectStore, prefix: &str, after: &str) -> Vec<String> {
    let listed = store.list_with_offset(Some(&prefix.into()), &after.into());
    let listed: Vec<_> = listed.try_collect().await.unwrap();
    listed
        .into_iter()
        .map(|meta| meta.location.to_string())
        .collect()
}

#[tokio::test]
async fn puts_gets_heads_and_deletes_names_of_all_sorts() {
    let server = GcsServer::start();
    let store = store(&server);
    for name in ["a", "dir/b c", "dir/ü+%&<>'\"?#", "x=1/y=2/z.parquet"] {
        let path = Path::from(name);
        let body = Bytes::from(format!("body of {name}"));
        store.put(&path, body.clone().into()).await.unwrap();
        assert_eq!(store.get(&path).await.unwrap().bytes().await.unwrap(), body);
        let head = store.head(&path).await.unwrap();
        assert_eq!(head.size, body.len() as u64);
        assert_eq!(head.location, path);
        assert_eq!(server.objects(BUCKET)[path.as_ref()], body);
        assert_eq!(names(&store, "", "").await, [path.to_string()]);
        store.delete(&path).await.unwrap();
        assert!(matches!(
            store.head(&path).await,
            Err(Error::NotFound { .. })
        ));
    }
    assert!(server.objects(BUCKET).is_empty());
}

#[tokio::test]
async fn a_race_to_create_has_one_winner() {
    let server = GcsServer::start();
    let store = std::sync::Arc::new(store(&server));
    for round in 0..20 {
        let path = Path::from(format!("race/{round}"));
        let tries = (0..16).map(|n| {
            let (store, path) = (store.clone(), path.clone());
            tokio::spawn(
                async move { store.put_opts(&path, format!("{n}").into(), create()).await },
            )
        });
        let tries: Vec<_> = tries.collect();
        let mut winner = None;
        for (n, result) in tries.into_iter().enumerate() {
            match result.await.unwrap() {
                Ok(_) => assert_eq!(winner.replace(n), None),
                Err(error) => assert!(matches!(error, Error::AlreadyExists { .. }), "{error}"),
            }
        }
        let body = server.objects(BUCKET)[path.as_ref()].clone();
        assert_eq!(body, winner.unwrap().to_string());
    }
}

#[tokio::test]
async fn updates_only_the_version_that_was_read() {
    let server = GcsServer::start();
    let store = store(&server);
    let path = Path::from("manifest");
    let first = store.put(&path, "1".into()).await.unwrap();
    let update = |version: &object_store::PutResult| {
        PutOptions::from(PutMode::Update(version.clone().into()))
    };
    store
        .put_opts(&path, "2".into(), update(&first))
        .await
        .unwrap();
    let stale = store.put_opts(&path, "3".into(), update(&first)).await;
    assert!(
        matches!(stale, Err(Error::Precondition { .. })),
        "{stale:?}"
    );
    assert_eq!(server.objects(BUCKET)["manifest"], "2");
}

#[tokio::test]
async fn joins_parts_in_order_and_forgets_what_is_given_up() {
    let server = GcsServer::start();
    let store = store(&server);
    let path = Path::from("big");
    let mut upload = store.put_multipart(&path).await.unwrap();
    let mut whole = Vec::new();
    let mut parts = Vec::new();
    for n in 0..4_u8 {
        let part = vec![n; (5 << 20) + usize::from(n)];
        whole.extend_from_slice(&part);
        parts.push(upload.put_part(part.into()));
    }
    // The last first: the order of the parts is not that of their arrival.
    for part in parts.into_iter().rev() {
        part.await.unwrap();
    }
    assert!(server.objects(BUCKET).is_empty());
    upload.complete().await.unwrap();
    assert!(server.objects(BUCKET)["big"] == whole);
    assert_eq!(server.uploads(), 0);

    let mut upload = store.put_multipart(&Path::from("none")).await.unwrap();
    upload.put_part("x".into()).await.unwrap();
    assert_eq!(server.uploads(), 1);
    upload.abort().await.unwrap();
    assert_eq!(server.uploads(), 0);
    assert_eq!(server.objects(BUCKET).len(), 1);
}

#[tokio::test]
async fn lists_with_offset_and_with_delimiter_over_pages() {
    let server = GcsServer::start();
    let store = store(&server);
    let all = ["p/a/1", "p/a/2", "p/a/3", "p/b", "p/c/1", "p/d", "q/1"];
    for name in all {
        store.put(&name.into(), name.into()).await.unwrap();
    }
    for page in [1, 2, 1000] {
        server.limit_pages(page);
        assert_eq!(names(&store, "p", "").await, all[..6]);
        assert_eq!(names(&store, "p", "p/a/2").await, all[2..6]);
        assert_eq!(names(&store, "p", "p/a/25").await, all[2..6]);
        let result = store.list_with_delimiter(Some(&"p".into())).await.unwrap();
        let folders: Vec<_> = result.common_prefixes.iter().map(Path::as_ref).collect();
        let objects: Vec<_> = result
            .objects
            .iter()
            .map(|meta| meta.location.as_ref())
            .collect();
        assert_eq!(folders, ["p/a", "p/c"]);
        assert_eq!(objects, ["p/b", "p/d"]);
    }
}

#[tokio::test]
async fn gets_ranges_and_copies() {
    let server = GcsServer::start();
    let store = store(&server);
    let path = Path::from("digits");
    store.put(&path, "0123456789".into()).await.unwrap();
    assert_eq!(store.get_range(&path, 2..5).await.unwrap(), "234");
    assert_eq!(store.get_range(&path, 8..20).await.unwrap(), "89");
    let ranges = store.get_ranges(&path, &[0..1, 9..10]).await.unwrap();
    assert_eq!(ranges, ["0", "9"]);
    assert!(store.get_range(&path, 10..12).await.is_err());

    let to = Path::from("copy ü");
    store
        .copy_opts(&path, &to, CopyOptions::new())
        .await
        .unwrap();
    assert_eq!(server.objects(BUCKET)[to.as_ref()], "0123456789");
}

#[tokio::test]
async fn a_write_whose_answer_is_lost_was_done() {
    let server = GcsServer::start();
    let store = store_with(&server, 0);
    let path = Path::from("file");
    server.lose_answers(1);
    let lost = store
        .put_opts(&path, "1".into(), create())
        .await
        .unwrap_err();
    assert!(!matches!(lost, Error::AlreadyExists { .. }), "{lost}");
    assert_eq!(server.objects(BUCKET)["file"], "1");
    // Whoever tries again finds what was written.
    let again = store.put_opts(&path, "1".into(), create()).await;
    assert!(
        matches!(again, Err(Error::AlreadyExists { .. })),
        "{again:?}"
    );

    // A write that may be repeated is repeated by object_store itself.
    let store = store_with(&server, 3);
    server.lose_answers(2);
    store.put(&path, "2".into()).await.unwrap();
    assert_eq!(server.objects(BUCKET)["file"], "2");
}

#[tokio::test]
async fn refuses_throttles_and_delays() {
    let server = GcsServer::start();
    let path = Path::from("file");
    server.refuse(true);
    let refused = store_with(&server, 1)
        .put(&path, "1".into())
        .await
        .unwrap_err();
    assert!(refused.to_string().contains("503"), "{refused}");
    assert_eq!(server.requests(), 2);
    server.refuse(false);

    server.throttle(2);
    let throttled = store_with(&server, 0)
        .put(&path, "1".into())
        .await
        .unwrap_err();
    assert!(throttled.to_string().contains("429"), "{throttled}");
    assert!(server.objects(BUCKET).is_empty());
    store(&server).put(&path, "1".into()).await.unwrap();
    assert_eq!(server.objects(BUCKET)["file"], "1");

    server.delay(Duration::from_millis(300));
    let store = store(&server);
    let slow = tokio::time::timeout(Duration::from_millis(100), store.put(&path, "2".into()));
    assert!(slow.await.is_err());
    server.delay(Duration::ZERO);
    store.put(&path, "3".into()).await.unwrap();
    assert_eq!(server.objects(BUCKET)["file"], "3");
}

#[tokio::test]
async fn comes_back_with_all_it_had() {
    let mut server = GcsServer::start();
    let endpoint = server.endpoint();
    let once = store_with(&server, 0);
    let path = Path::from("file");
    once.put(&path, "1".into()).await.unwrap();
    server.stop();
    assert!(once.get(&path).await.is_err());
    server.resume();
    assert_eq!(server.endpoint(), endpoint);
    assert_eq!(
        store(&server)
            .get(&path)
            .await
            .unwrap()
            .bytes()
            .await
            .unwrap(),
        "1"
    );
}
