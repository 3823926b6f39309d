//! Images: config, history, manifest, archive.

use serde_json::Value;

use super::{Machine, Site};
use crate::build::{Delivered, Delivery, Destination, deliver};
use crate::hashing::sha256;
use crate::image::{DOCKER_MANIFEST, ImageFormat, OCI_MANIFEST};
use crate::model::pointer_tag;
use crate::output::Outcome;
use crate::plan::tests::{Build, build};
use crate::storage::StageStorage as _;

fn example(machine: &Machine) -> Build {
    let layer = machine.layer(&[("w/", "")]);
    build("FROM base\nENV A=1\nWORKDIR /w\nCOPY f .\nCMD x")
        .layered("base", &[layer])
        .file("f", "F")
}

async fn delivered(site: &Site, delivery: &Delivery) -> Delivered {
    deliver(&site.engine, &site.engine.plan().images[0], delivery).await.unwrap()
}

fn kept(format: ImageFormat) -> Delivery {
    Delivery { format, keep: true, destinations: Vec::new() }
}

async fn json(machine: &Machine, selector: &str) -> (String, Value, Value) {
    let layout = machine.layout();
    let stored = layout.manifest(selector).await.unwrap().unwrap();
    let manifest: Value = serde_json::from_slice(&stored.bytes).unwrap();
    let config = manifest["config"]["digest"].as_str().unwrap().parse().unwrap();
    let config = layout.blob(&config, 1 << 20).await.unwrap();
    (stored.media_type, manifest, serde_json::from_slice(&config).unwrap())
}

#[tokio::test]
async fn history_and_layers_agree() {
    for (format, media_type) in
        [(ImageFormat::Oci, OCI_MANIFEST), (ImageFormat::Docker, DOCKER_MANIFEST)]
    {
        let machine = Machine::new();
        let site = machine.site_of(example(&machine), Some(machine.layout()));
        let image = delivered(&site, &kept(format)).await;
        assert_eq!(image.outcome, Outcome::Built);
        let (kind, manifest, config) = json(&machine, &image.digest.to_string()).await;
        assert_eq!(kind, media_type);
        assert_eq!(manifest["layers"].as_array().unwrap().len(), 2);
        assert_eq!(config["rootfs"]["diff_ids"].as_array().unwrap().len(), 2);
        assert_eq!(config["created"], "2023-11-14T22:13:20Z");
        let history: Vec<(String, bool)> = config["history"]
            .as_array()
            .unwrap()
            .iter()
            .map(|step| {
                (step["created_by"].as_str().unwrap().to_owned(), step["empty_layer"] == true)
            })
            .collect();
        let expected = [
            ("a layer of docker.io/library/base:latest", false),
            ("ENV A=1", true),
            ("WORKDIR /w", true),
            ("COPY f .", false),
            ("CMD x", true),
        ];
        assert_eq!(history, expected.map(|(text, empty)| (text.to_owned(), empty)));
        assert!(config["config"]["Labels"].is_null(), "no bookkeeping in an image");
    }
}

#[tokio::test]
async fn a_content_tag_does_not_move() {
    let machine = Machine::new();
    let mut build = example(&machine);
    let first = machine.site(build.plan().unwrap(), Some(machine.layout()));
    let first = delivered(&first, &kept(ImageFormat::Oci)).await;
    build.times.commit = Some(1_750_000_000);
    let second = machine.site(build.plan().unwrap(), Some(machine.layout()));
    let pointer = pointer_tag(&second.engine.plan().images[0].digest);
    let second = delivered(&second, &kept(ImageFormat::Oci)).await;
    assert_eq!((second.digest, second.outcome), (first.digest, Outcome::Reused));
    assert_eq!(machine.layout().head(&pointer).await.unwrap(), Some(first.digest));
}

#[tokio::test]
async fn racing_builders_report_the_same_image() {
    let machine = Machine::new();
    let (one, mut other) = (example(&machine), example(&machine));
    other.times.commit = Some(1_750_000_000);
    let one = machine.site(one.plan().unwrap(), Some(machine.layout()));
    let other = machine.site(other.plan().unwrap(), Some(machine.layout()));
    let delivery = kept(ImageFormat::Oci);
    let (one, other) = tokio::join!(delivered(&one, &delivery), delivered(&other, &delivery));
    assert_eq!(one.digest, other.digest);
}

#[tokio::test]
async fn a_destination_gets_the_stored_image() {
    let machine = Machine::new();
    let tag = Delivery {
        destinations: vec![Destination::Tag { storage: machine.layout(), tag: "v1".to_owned() }],
        ..kept(ImageFormat::Oci)
    };
    for outcome in [Outcome::Built, Outcome::Reused] {
        let site = machine.site_of(example(&machine), Some(machine.layout()));
        let image = delivered(&site, &tag).await;
        assert_eq!(image.outcome, outcome);
        assert_eq!(machine.layout().head("v1").await.unwrap(), Some(image.digest));
    }
}

#[tokio::test]
async fn an_archive_is_what_docker_load_reads() {
    let machine = Machine::new();
    let path = machine.root.path().join("image.tar");
    let names = vec!["example.org/app:v1".to_owned()];
    let archive = Destination::Archive { path: path.clone(), names };
    let delivery =
        Delivery { format: ImageFormat::Docker, keep: false, destinations: vec![archive] };
    let site = machine.site_of(example(&machine), None);
    delivered(&site, &delivery).await;
    let mut members = std::collections::BTreeMap::new();
    for entry in tar::Archive::new(fs_err::File::open(&path).unwrap()).entries().unwrap() {
        let mut entry = entry.unwrap();
        let mut bytes = Vec::new();
        std::io::Read::read_to_end(&mut entry, &mut bytes).unwrap();
        members.insert(entry.path().unwrap().display().to_string(), bytes);
    }
    let manifest: Value = serde_json::from_slice(&members["manifest.json"]).unwrap();
    assert_eq!(manifest[0]["RepoTags"][0], "example.org/app:v1");
    let name = manifest[0]["Config"].as_str().unwrap();
    assert_eq!(name, format!("{}.json", sha256(&members[name]).hex()));
    let config: Value = serde_json::from_slice(&members[name]).unwrap();
    let layers = manifest[0]["Layers"].as_array().unwrap();
    assert_eq!(layers.len(), config["rootfs"]["diff_ids"].as_array().unwrap().len());
    assert!(layers.iter().all(|layer| members.contains_key(layer.as_str().unwrap())));
}
