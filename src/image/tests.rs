//! Configs and manifests as they are found, and as they are written.

use std::collections::BTreeMap;

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::hashing::sha256;
use crate::model::{DiffId, Platform};

#[test]
fn a_full_config_has_its_golden_bytes() {
    let value = json!({
        "created": "2024-01-02T03:04:05Z", "author": "me", "architecture": "arm", "variant": "v7",
        "os": "linux", "os.version": "1", "os.features": ["f"],
        "config": {
            "User": "app:www", "ExposedPorts": {"80/tcp": {}, "53/udp": {}}, "Env": ["B=1", "A=2"],
            "Entrypoint": ["/e"], "Cmd": [], "ArgsEscaped": true, "Volumes": {"/v": {}},
            "WorkingDir": "/w", "Labels": {"b": "2", "a": "1"}, "StopSignal": "SIGINT",
            "StopTimeout": 5, "Shell": ["/bin/ash"], "OnBuild": ["RUN x"],
            "Healthcheck": {"Test": ["NONE"], "Interval": 1, "Timeout": 2, "StartPeriod": 3,
                "StartInterval": 4, "Retries": 5, "Later": 6},
            "Hostname": "h",
        },
        "rootfs": {"type": "layers", "diff_ids": [DiffId(sha256(b"")).to_string()]},
        "history": [{"created": "2024-01-02T03:04:05Z", "created_by": "RUN x", "author": "a",
            "comment": "c", "empty_layer": true, "more": 1}],
        "docker_version": "1.2", "a": null,
    });
    let config = ImageConfig::from_bytes(value.to_string().as_bytes()).unwrap();
    let golden = concat!(
        r#"{"created":"2024-01-02T03:04:05Z","author":"me","architecture":"arm","variant":"v7","#,
        r#""os":"linux","os.version":"1","os.features":["f"],"config":{"User":"app:www","#,
        r#""ExposedPorts":{"53/udp":{},"80/tcp":{}},"Env":["B=1","A=2"],"Entrypoint":["/e"],"#,
        r#""Cmd":[],"Healthcheck":{"Test":["NONE"],"Interval":1,"Timeout":2,"StartPeriod":3,"#,
        r#""StartInterval":4,"Retries":5,"Later":6},"ArgsEscaped":true,"Volumes":{"/v":{}},"#,
        r#""WorkingDir":"/w","OnBuild":["RUN x"],"Labels":{"a":"1","b":"2"},"#,
        r#""StopSignal":"SIGINT","StopTimeout":5,"Shell":["/bin/ash"],"Hostname":"h"},"#,
        r#""rootfs":{"type":"layers","diff_ids":["#,
        r#""sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"]},"#,
        r#""history":[{"created":"2024-01-02T03:04:05Z","created_by":"RUN x","author":"a","#,
        r#""comment":"c","empty_layer":true,"more":1}],"a":null,"docker_version":"1.2"}"#,
    );
    assert_eq!(String::from_utf8(config.to_bytes()).unwrap(), golden);
    assert_eq!(ImageConfig::from_bytes(golden.as_bytes()).unwrap(), config);
    assert_eq!((config.env("A"), config.env("C")), (Some("2"), None));
    assert_eq!(config.platform().to_string(), "linux/arm/v7");
}

#[test]
fn nulls_and_absent_fields_are_taken() {
    for text in [
        "{}",
        r#"{"config":null,"rootfs":null,"history":null,"author":null}"#,
        r#"{"config":{"Env":null,"Cmd":null,"Labels":null,"Volumes":null,"OnBuild":null,
            "ExposedPorts":null,"User":null,"Healthcheck":null,"ArgsEscaped":null}}"#,
        r#"{"rootfs":{"type":"layers","diff_ids":null},"history":[]}"#,
    ] {
        let config = ImageConfig::from_bytes(text.as_bytes()).unwrap();
        assert_eq!(config, ImageConfig::default(), "{text}");
    }
    let empty =
        r#"{"architecture":"","os":"","config":{},"rootfs":{"type":"layers","diff_ids":[]}}"#;
    assert_eq!(String::from_utf8(ImageConfig::default().to_bytes()).unwrap(), empty);
    for text in ["", "[]", r#"{"config":{"Env":"A=1"}}"#, r#"{"rootfs":{"diff_ids":["x"]}}"#] {
        assert!(ImageConfig::from_bytes(text.as_bytes()).is_err(), "{text}");
    }
}

#[test]
fn an_image_from_scratch_is_for_its_platform() {
    let platform: Platform = "linux/arm64/v8".parse().unwrap();
    assert_eq!(ImageConfig::scratch(&platform).platform(), platform);
}

fn layer(media_type: &str) -> Descriptor {
    Descriptor::new(media_type, sha256(b"layer"), 5)
}

const OCI_GZIP: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
const OCI_ZSTD: &str = "application/vnd.oci.image.layer.v1.tar+zstd";
const DOCKER_GZIP: &str = "application/vnd.docker.image.rootfs.diff.tar.gzip";

#[test]
fn manifests_have_their_golden_bytes_in_both_formats() {
    let annotations: BTreeMap<String, String> = [("b", "2"), ("a", "1")]
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .into_iter()
        .collect();
    let layers = [layer(OCI_GZIP), layer(DOCKER_GZIP)];
    let written = |format| {
        let bytes = manifest(format, sha256(b"config"), 6, &layers, &annotations).unwrap();
        String::from_utf8(bytes).unwrap()
    };
    let (config, digest) = (sha256(b"config"), sha256(b"layer"));
    assert_eq!(
        written(ImageFormat::Oci),
        format!(
            "{{\"schemaVersion\":2,\"mediaType\":\"{OCI_MANIFEST}\",\"config\":{{\"mediaType\":\
             \"{OCI_CONFIG}\",\"digest\":\"{config}\",\"size\":6}},\"layers\":[{{\"mediaType\":\
             \"{OCI_GZIP}\",\"digest\":\"{digest}\",\"size\":5}},{{\"mediaType\":\"{OCI_GZIP}\",\
             \"digest\":\"{digest}\",\"size\":5}}],\"annotations\":{{\"a\":\"1\",\"b\":\"2\"}}}}"
        )
    );
    assert_eq!(
        written(ImageFormat::Docker),
        format!(
            "{{\"schemaVersion\":2,\"mediaType\":\"{DOCKER_MANIFEST}\",\"config\":{{\"mediaType\":\
             \"{DOCKER_CONFIG}\",\"digest\":\"{config}\",\"size\":6}},\"layers\":[{{\"mediaType\":\
             \"{DOCKER_GZIP}\",\"digest\":\"{digest}\",\"size\":5}},{{\"mediaType\":\
             \"{DOCKER_GZIP}\",\"digest\":\"{digest}\",\"size\":5}}]}}"
        )
    );
    for format in [ImageFormat::Oci, ImageFormat::Docker] {
        let Manifest::Image(image) = parse_manifest(None, written(format).as_bytes()).unwrap()
        else {
            panic!("not an image");
        };
        assert_eq!((image.format, image.layers.len(), image.config.size), (format, 2, 6));
    }
    let zstd = manifest(ImageFormat::Docker, config, 6, &[layer(OCI_ZSTD)], &annotations);
    assert!(matches!(zstd, Err(ImageError::DockerLayer(name)) if name == OCI_ZSTD));
}

fn descriptor(media_type: &str) -> serde_json::Value {
    json!({"mediaType": media_type, "digest": sha256(b"x").to_string(), "size": 3})
}

#[test]
fn manifests_are_taken_as_registries_give_them() {
    let docker = json!({"schemaVersion": 2, "config": descriptor("c"), "layers": null});
    let inside =
        json!({"schemaVersion": 2, "mediaType": DOCKER_MANIFEST, "config": descriptor("c")});
    let list = json!({"schemaVersion": 2, "manifests": [
        {"mediaType": "m", "digest": sha256(b"x").to_string(), "size": 3,
            "platform": {"os": "linux", "architecture": "arm", "variant": "v6"}},
        descriptor("m"),
    ]});
    for (served, value, expected) in [
        (Some(DOCKER_MANIFEST), &docker, "Docker 0"),
        (Some("application/vnd.oci.image.manifest.v1+json; charset=utf-8"), &docker, "Oci 0"),
        (Some("application/json"), &docker, "Oci 0"),
        (None, &inside, "Docker 0"),
        (None, &list, "index linux/arm/v6 -"),
        (Some(DOCKER_INDEX), &list, "index linux/arm/v6 -"),
    ] {
        let text = match parse_manifest(served, value.to_string().as_bytes()).unwrap() {
            Manifest::Image(image) => format!("{:?} {}", image.format, image.layers.len()),
            Manifest::Index(entries) => entries.iter().fold("index".to_owned(), |text, entry| {
                let platform = entry.platform.as_ref().map(ToString::to_string);
                text + " " + platform.as_deref().unwrap_or("-")
            }),
        };
        assert_eq!(text, expected, "{served:?} {value}");
    }
}

#[test]
fn what_is_no_manifest_is_refused_by_name() {
    let negative = json!({"mediaType": "l", "digest": sha256(b"x").to_string(), "size": -1});
    let image = json!({"schemaVersion": 2, "config": descriptor("c"), "layers": []});
    let both = json!({"config": descriptor("c"), "layers": [], "manifests": []});
    let schema1 = "the manifest has schema version 1, which is not supported; push the image again \
                   with a current client";
    for (served, value, expected) in [
        (None, json!({"schemaVersion": 1, "fsLayers": []}), schema1),
        (Some("application/vnd.docker.distribution.manifest.v1+prettyjws"), image.clone(), schema1),
        (None, both.clone(), "not an image manifest or index: an index with a config or layers"),
        (
            Some(OCI_MANIFEST),
            both,
            "not an image manifest or index: an image with a list of manifests",
        ),
        (None, json!({}), "not an image manifest or index: no config"),
        (None, json!([1]), "not an image manifest or index: no JSON object"),
        (
            None,
            json!({"config": descriptor("c"), "layers": [negative]}),
            "malformed image manifest",
        ),
        (
            None,
            json!({"mediaType": "application/vnd.other", "config": descriptor("c")}),
            "unsupported manifest media type \"application/vnd.other\"",
        ),
    ] {
        let error = parse_manifest(served, value.to_string().as_bytes()).unwrap_err();
        assert_eq!(error.to_string(), expected, "{value}");
    }
    let mut other = image;
    other["mediaType"] = OCI_MANIFEST.into();
    assert!(parse_manifest(Some(OCI_INDEX), other.to_string().as_bytes()).is_err());
}

fn index_of(platforms: &[&str]) -> Vec<IndexEntry> {
    let entry = |(at, platform): (usize, &&str)| IndexEntry {
        descriptor: Descriptor::new("m", sha256(b"x"), at as u64),
        platform: (!platform.is_empty()).then(|| platform.parse().unwrap()),
    };
    platforms.iter().enumerate().map(entry).collect()
}

#[test]
fn the_best_platform_is_selected() {
    let debian: &[&str] = &[
        "linux/amd64",
        "unknown/unknown",
        "linux/arm/v5",
        "linux/arm/v7",
        "linux/arm64/v8",
        "linux/386",
    ];
    for (offered, wanted, expected) in [
        (debian, "linux/amd64", Some(0)),
        (debian, "linux/amd64/v3", Some(0)),
        (debian, "linux/x86_64", Some(0)),
        (debian, "linux/arm", Some(3)),
        (debian, "linux/arm/v6", Some(2)),
        (debian, "linux/arm64", Some(4)),
        (debian, "linux/aarch64/v8", Some(4)),
        (debian, "linux/386", Some(5)),
        (debian, "linux/s390x", None),
        (debian, "windows/amd64", None),
        (&["linux/amd64/v3", "linux/amd64/v2"], "linux/amd64", None),
        (&["linux/amd64/v2", "linux/amd64/v3", "linux/amd64"], "linux/amd64/v4", Some(1)),
        (&["linux/amd64", "linux/amd64"], "linux/amd64", Some(0)),
        (&["linux/arm64"], "linux/arm64/v8", Some(0)),
        (&["linux/mips/softfloat"], "linux/mips/softfloat", Some(0)),
        (&["linux/mips/softfloat"], "linux/mips", None),
        (&[""], "linux/amd64", Some(0)),
        (&["", ""], "linux/amd64", None),
    ] {
        let selected = select_platform(&index_of(offered), &wanted.parse().unwrap());
        assert_eq!(selected.ok().map(|found| found.size), expected, "{wanted} of {offered:?}");
    }
    let error = select_platform(&index_of(&debian[..3]), &"linux/s390x".parse().unwrap());
    assert_eq!(
        error.unwrap_err().to_string(),
        "no image for linux/s390x; there is linux/amd64, linux/arm/v5"
    );
}

proptest! {
    #[test]
    fn configs_are_read_as_written(
        env in prop::collection::vec(".{0,8}", 0..4),
        labels in prop::collection::btree_map(".{0,6}", ".{0,6}", 0..5),
        cmd in prop::option::of(prop::collection::vec(".{0,6}", 0..3)),
        unknown in "[a-z]{12}",
        number in any::<i64>(),
    ) {
        let mut config = ImageConfig::default();
        (config.config.env, config.config.labels, config.config.cmd) = (env, labels, cmd);
        config.config.stop_timeout = Some(number);
        config.unknown.insert(unknown, json!([number, null, {"x": 1.5}]));
        let bytes = config.to_bytes();
        let back = ImageConfig::from_bytes(&bytes).unwrap();
        prop_assert_eq!(back.to_bytes(), bytes);
        prop_assert_eq!(back, config);
    }

    #[test]
    fn garbage_is_an_error(bytes in prop::collection::vec(any::<u8>(), 0..100)) {
        prop_assert!(parse_manifest(None, &bytes).is_err());
    }
}
