//! What a failure does to everything else.

use super::{Machine, whole};
use crate::build::{BuildError, Delivery, deliver};
use crate::image::ImageFormat;
use crate::plan::Plan;
use crate::plan::tests::build;
use crate::storage::Origin;

#[tokio::test]
async fn one_failure_interrupts_the_others_and_is_the_error() {
    let machine = Machine::new();
    let base = machine.layer(&[("file", "x")]);
    let mut plan = Plan::default();
    for name in ["one", "two"] {
        let text = format!("FROM base\nCOPY f /file/x\nLABEL name={name}");
        let build = build(&text).layered("base", std::slice::from_ref(&base)).file("f", "F");
        build.add_to(&mut plan, name).unwrap();
    }
    let site = machine.site(plan, None);
    let delivery = Delivery { format: ImageFormat::Oci, keep: false, destinations: Vec::new() };
    let images = &site.engine.plan().images;
    let (one, two) = tokio::join!(
        deliver(&site.engine, &images[0], &delivery),
        deliver(&site.engine, &images[1], &delivery)
    );
    let errors = [one.unwrap_err(), two.unwrap_err()];
    let interrupted =
        errors.iter().filter(|error| matches!(error, BuildError::Interrupted)).count();
    assert_eq!(interrupted, 1, "the stage is tried once: {errors:?}");
    assert!(site.interrupt.is_set());
}

#[tokio::test]
async fn a_failure_of_an_image_interrupts_too() {
    let machine = Machine::new();
    let mut base = machine.layer(&[("file", "x")]);
    base.origin = Origin::File(machine.root.path().join("gone"));
    let build = build("FROM base").layered("base", &[base]);
    let site = machine.site(build.plan().unwrap(), Some(machine.layout()));
    let delivery = Delivery { format: ImageFormat::Oci, keep: true, destinations: Vec::new() };
    let failed = deliver(&site.engine, &site.engine.plan().images[0], &delivery).await;
    assert!(whole(failed.unwrap_err()).contains("layout"));
    assert!(site.interrupt.is_set());
}

#[tokio::test]
async fn nothing_starts_after_the_interrupt() {
    let machine = Machine::new();
    let build = build("FROM scratch\nCOPY f /").file("f", "F");
    let site = machine.site(build.plan().unwrap(), None);
    site.interrupt.set();
    let top = site.engine.plan().images[0].top;
    assert!(matches!(site.engine.layers_of(top).await, Err(BuildError::Interrupted)));
}

#[tokio::test]
async fn a_layer_that_is_not_what_it_says_is_an_error() {
    let machine = Machine::new();
    let (mut base, other) = (machine.layer(&[("a", "x")]), machine.layer(&[("b", "x")]));
    base.origin = other.origin;
    let build = build("FROM base\nCOPY f /").layered("base", &[base]).file("f", "F");
    let error = whole(machine.top(&build).await.unwrap_err());
    assert!(error.contains("diff id"), "{error}");
}
