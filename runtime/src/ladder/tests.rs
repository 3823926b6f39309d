use super::*;

/// The environments of the probe's regression table: what works in each kind of pod.
fn pod(name: &str) -> Capabilities {
    let mut caps = Capabilities { seccomp_notify: true, ..Capabilities::default() };
    let spaces = |caps: &mut Capabilities, map| {
        caps.user_namespace = true;
        caps.map = map;
        caps.mount = true;
        caps.overlay_upper = true;
        caps.pivot_root = true;
    };
    match name {
        "root, unconfined" | "privileged" => {
            spaces(&mut caps, Map::Full { len: u32::MAX });
            caps.chroot = true;
        }
        "root, unconfined, no volume" => {
            spaces(&mut caps, Map::Full { len: u32::MAX });
            caps.overlay_upper = false;
        }
        "userns pod, unconfined" => spaces(&mut caps, Map::Full { len: 65536 }),
        "userns pod, all capabilities" => {
            spaces(&mut caps, Map::Full { len: 65536 });
            caps.pivot_root = false;
        }
        "root, RuntimeDefault" => caps.chroot = true,
        "root, AppArmor" => {
            spaces(&mut caps, Map::Full { len: u32::MAX });
            caps.mount = false;
            caps.overlay_upper = false;
            caps.chroot = true;
        }
        "user, unconfined" => {
            spaces(&mut caps, Map::One);
            caps.uid = 1000;
        }
        "user, subordinate ids" => {
            spaces(&mut caps, Map::Helper);
            caps.uid = 1000;
        }
        "restricted" => caps.uid = 1000,
        _ => unreachable!(),
    }
    caps
}

#[test]
fn each_kind_of_pod_gets_its_rung_or_a_refusal() {
    for (name, expected) in [
        ("root, unconfined", Ok(Rung::OverlayFull)),
        ("privileged", Ok(Rung::OverlayFull)),
        ("userns pod, unconfined", Ok(Rung::OverlayFull)),
        ("userns pod, all capabilities", Ok(Rung::OverlayFull)),
        ("user, subordinate ids", Ok(Rung::OverlayFull)),
        ("root, unconfined, no volume", Err((Rung::Translate, vec![Lack::OverlayUpper]))),
        ("root, RuntimeDefault", Ok(Rung::Chroot)),
        ("root, AppArmor", Ok(Rung::Chroot)),
        ("user, unconfined", Err((Rung::OverlayOne, vec![Lack::Ids]))),
        ("restricted", Err((Rung::Translate, vec![Lack::UserNamespace, Lack::Ids]))),
    ] {
        let got = choose(&pod(name), Choice::Auto)
            .map_err(|refusal| (refusal.candidate, refusal.lacks.clone()));
        assert_eq!(got, expected, "{name}");
    }
}

#[test]
fn no_runtime_is_always_possible() {
    for name in ["root, unconfined", "restricted"] {
        assert_eq!(choose(&pod(name), Choice::None), Ok(Rung::None));
    }
}

#[test]
fn a_refusal_says_what_is_missing_and_what_to_change() {
    let refusal = choose(&pod("restricted"), Choice::Auto).unwrap_err();
    assert_eq!(
        refusal.to_string(),
        "RUN cannot be executed in this pod: user namespaces are refused; only one user id can be \
         mapped (the translate runtime is not available yet)"
    );
    assert!(refusal.hint().contains("seccompProfile.type: Unconfined"));
    assert!(refusal.hint().contains("runAsUser: 0"));
    let refusal = choose(&pod("root, unconfined, no volume"), Choice::Overlay).unwrap_err();
    assert!(refusal.hint().contains("emptyDir"), "{}", refusal.hint());
}

#[test]
fn choices_are_written_as_they_are_read() {
    for choice in [Choice::Auto, Choice::Overlay, Choice::Chroot, Choice::None] {
        assert_eq!(choice.to_string().parse(), Ok(choice));
    }
    assert!("proot".parse::<Choice>().is_err());
}
