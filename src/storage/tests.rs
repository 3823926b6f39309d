//! What every storage keeps; run on each implementation.

use super::*;
use crate::hashing::sha256;

fn layer(bytes: &[u8], path: &Path) -> Layer {
    fs_err::write(path, bytes).unwrap();
    Layer {
        digest: sha256(bytes),
        diff_id: DiffId(sha256(bytes)),
        size: bytes.len() as u64,
        media_type: "application/vnd.oci.image.layer.v1.tar".to_owned(),
        origin: Origin::File(path.to_owned()),
    }
}

async fn conforms(storage: &impl StageStorage) {
    let files = tempfile::tempdir().unwrap();
    let path = files.path().join("layer");
    let layer = layer(b"a layer", &path);
    assert_eq!(storage.head("at-nothing").await.unwrap(), None);
    assert_eq!(storage.manifest("at-nothing").await.unwrap(), None);
    assert!(!storage.adopt(&layer).await.unwrap());
    storage.put_layer(&layer, &path).await.unwrap();
    storage.put_layer(&layer, &path).await.unwrap();
    assert!(storage.adopt(&layer).await.unwrap());

    let config = storage.put_blob(b"{}").await.unwrap();
    assert_eq!(storage.blob(&config, 10).await.unwrap(), b"{}");
    assert!(storage.blob(&config, 1).await.is_err(), "the limit holds");

    let media_type = crate::image::OCI_MANIFEST;
    for note in ["first", "second"] {
        let bytes = format!(r#"{{"schemaVersion":2,"note":"{note}"}}"#).into_bytes();
        let digest = storage.put_manifest("tag", media_type, &bytes).await.unwrap();
        assert_eq!(storage.head("tag").await.unwrap(), Some(digest), "the tag moves");
        let stored = storage.manifest(&digest.to_string()).await.unwrap().unwrap();
        assert_eq!((stored.digest, stored.bytes), (sha256(&bytes), bytes));
    }
}

#[tokio::test]
async fn a_layout_conforms() {
    let directory = tempfile::tempdir().unwrap();
    let place = directory.path().join("layout");
    let storage = LayoutStorage::open(&place).unwrap();
    conforms(&storage).await;
    LayoutStorage::open(&place).expect("a layout is opened again");
}

#[test]
fn a_directory_that_is_no_layout_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    fs_err::write(directory.path().join("notes.txt"), "mine").unwrap();
    let error = LayoutStorage::open(directory.path()).unwrap_err();
    assert!(error.to_string().contains("has no file oci-layout and is not empty"), "{error}");
}

#[test]
fn builders_that_start_at_once_make_one_layout() {
    let directory = tempfile::tempdir().unwrap();
    for round in 0..50 {
        let place = directory.path().join(round.to_string());
        let open = || LayoutStorage::open(&place).map(drop);
        std::thread::scope(|scope| {
            let builders: Vec<_> = (0..4).map(|_| scope.spawn(open)).collect();
            for builder in builders {
                builder.join().unwrap().unwrap();
            }
        });
    }
}

#[test]
fn a_layout_that_a_killed_builder_began_is_ended() {
    let directory = tempfile::tempdir().unwrap();
    fs_err::write(directory.path().join(".lock"), "").unwrap();
    fs_err::create_dir(directory.path().join("blobs")).unwrap();
    LayoutStorage::open(directory.path()).unwrap();
    assert!(directory.path().join("oci-layout").is_file());
}
