//! The artifact's bytes, and what is refused.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::layer::index::tests::any_index;
use crate::layer::{IndexEntry, IndexKind};

fn layer_id() -> DiffId {
    DiffId(sha256(b"layer"))
}

/// An index of `count` files whose names do not compress well.
fn index(count: u32) -> LayerIndex {
    let name = |at: u32| sha256(&at.to_le_bytes()).hex().into_bytes();
    let entry = IndexEntry { kind: IndexKind::File, mode: 0o644, uid: 0, gid: 0 };
    let entries = (0..count).map(|at| (name(at), entry.clone())).collect();
    LayerIndex { entries, ..LayerIndex::default() }
}

#[test]
fn the_manifest_has_its_golden_bytes() {
    let artifact = IndexArtifact::new(&LayerIndex::default(), layer_id()).unwrap();
    let expected = format!(
        concat!(
            r#"{{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","#,
            r#""artifactType":"application/vnd.longshore.layer-index.v1","#,
            r#""config":{{"mediaType":"application/vnd.oci.empty.v1+json","#,
            r#""digest":"sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a","#,
            r#""size":2,"data":"e30="}},"#,
            r#""layers":[{{"mediaType":"application/vnd.longshore.layer-index.v1+zstd","#,
            r#""digest":"{}","size":{},"data":"{}"}}],"#,
            r#""annotations":{{"dev.longshore.layer.diff-id":"{}"}}}}"#,
        ),
        sha256(&artifact.blob),
        artifact.blob.len(),
        STANDARD.encode(&artifact.blob),
        layer_id(),
    );
    assert_eq!(String::from_utf8(artifact.manifest).unwrap(), expected);
    let raw = zstd::stream::decode_all(artifact.blob.as_slice()).unwrap();
    let body = [b"longshore layer index 1\n".as_slice(), layer_id().0.as_bytes(), &[0; 5]].concat();
    assert_eq!(raw, body);
    assert_eq!(index_tag(layer_id()), format!("index-{}", layer_id().0.hex()));
    assert_eq!(index_tag(layer_id()).len(), 70);
}

#[test]
fn small_indexes_are_in_the_manifest_and_large_ones_beside_it() {
    for (count, is_inline) in [(0, true), (100, true), (5_000, false)] {
        let artifact = IndexArtifact::new(&index(count), layer_id()).unwrap();
        assert_eq!(artifact.blob.len() <= INLINE_LIMIT, is_inline, "{count}");
        let expected = match is_inline {
            true => ArtifactBlob::Inline(artifact.blob.clone()),
            false => ArtifactBlob::Stored(sha256(&artifact.blob)),
        };
        assert_eq!(read_artifact(&artifact.manifest).unwrap(), expected, "{count}");
        let read = LayerIndex::from_bytes(&artifact.blob, layer_id()).unwrap();
        assert_eq!(read, index(count), "{count}");
    }
}

#[test]
fn other_manifests_are_refused() {
    let artifact = IndexArtifact::new(&index(10), layer_id()).unwrap();
    let whole: Value = serde_json::from_slice(&artifact.manifest).unwrap();
    type Change = fn(&mut Value);
    let cases: [(Change, &str); 11] = [
        (|it| it["mediaType"] = json!("x"), "the artifact has media type \"x\""),
        (|it| it["artifactType"] = json!("x"), "the artifact has artifact type \"x\""),
        (|it| it["artifactType"] = Value::Null, "malformed artifact manifest"),
        (|it| it["layers"] = json!([]), "the artifact has 0 blobs instead of one"),
        (|it| it["layers"] = Value::Null, "malformed artifact manifest"),
        (|it| it["layers"][0]["mediaType"] = json!("x"), "the artifact has a blob of type \"x\""),
        (
            |it| it["layers"][0]["size"] = json!((16 << 20) + 1),
            "the artifact's blob has 16777217 bytes, more than 16777216",
        ),
        (|it| it["layers"][0]["size"] = json!(1), "the data in the artifact's manifest is not"),
        (|it| it["layers"][0]["data"] = json!("!"), "the data in the artifact's manifest is not"),
        (
            |it| it["layers"][0]["digest"] = json!(sha256(b"").to_string()),
            "the data in the artifact's manifest is not",
        ),
        (|it| it["layers"][0]["digest"] = json!("md5:00"), "malformed artifact manifest"),
    ];
    for (change, message) in cases {
        let mut changed = whole.clone();
        change(&mut changed);
        let error = read_artifact(changed.to_string().as_bytes()).unwrap_err().to_string();
        assert!(error.starts_with(message), "{error} instead of {message}");
    }
    assert!(read_artifact(b"").is_err());
    let error = read_artifact(br#"{"schemaVersion":2}"#).unwrap_err();
    assert_eq!(error.to_string(), "malformed artifact manifest");
}

proptest! {
    #[test]
    fn any_damage_is_refused_or_leads_to_a_checked_index(
        index in any_index(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let artifact = IndexArtifact::new(&index, layer_id()).unwrap();
        let mut manifest = artifact.manifest;
        changes.iter().for_each(|(at, byte)| *at.get_mut(&mut manifest) = *byte);
        if let Ok(ArtifactBlob::Inline(bytes)) = read_artifact(&manifest) {
            prop_assert_eq!(bytes, artifact.blob);
        }
    }
}
