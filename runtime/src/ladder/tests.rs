use super::*;
use crate::capabilities::{Map, Mechanism, Privileges, Volume};

const ALL: u32 = u32::MAX;
const ENGINE: Privileges = Privileges::ENGINE_DEFAULT;
const NONE: Privileges = Privileges::NONE;
const EVERY: Privileges = Privileges::of_bits(0x1ff_feff_ffff);
const EPERM: i32 = libc::EPERM;
const EACCES: i32 = libc::EACCES;
const ENOSYS: i32 = libc::ENOSYS;

/// A kind of pod as the probe has found it, in the environments of `tests/pods`.
struct Pod {
    name: &'static str,
    user: (u32, u32),
    sets: (Privileges, Privileges),
    filtered: bool,
    map: Map,
    failed: &'static [(Mechanism, i32)],
}

/// What is tried inside a user namespace.
const INSIDE: [Mechanism; 5] = [
    Mechanism::Mount,
    Mechanism::OverlayUpper,
    Mechanism::PivotRoot,
    Mechanism::FreshProc,
    Mechanism::NetworkNamespace,
];

const FULL: Map = Map::Full { len: ALL };
const SHIFTED: Map = Map::Full { len: 65536 };
const NO_PROC: (Mechanism, i32) = (Mechanism::FreshProc, EPERM);
const NO_DEVICE: (Mechanism, i32) = (Mechanism::Mknod, EPERM);
/// `RuntimeDefault`.
const FILTERED: [(Mechanism, i32); 2] =
    [(Mechanism::UserNamespace, EPERM), (Mechanism::Clone3, ENOSYS)];
/// No capabilities.
const PLAIN: [(Mechanism, i32); 4] =
    [(Mechanism::Chroot, EPERM), (Mechanism::Chown, EPERM), (Mechanism::SetIds, EPERM), NO_DEVICE];

const PODS: &[Pod] = &[
    Pod {
        name: "E1",
        user: (0, ALL),
        sets: (ENGINE, ENGINE),
        filtered: false,
        map: FULL,
        failed: &[NO_PROC],
    },
    Pod {
        name: "E1np",
        user: (0, ALL),
        sets: (ENGINE, ENGINE),
        filtered: false,
        map: FULL,
        failed: &[],
    },
    Pod {
        name: "E2",
        user: (0, ALL),
        sets: (ENGINE, ENGINE),
        filtered: true,
        map: Map::No,
        failed: &FILTERED,
    },
    Pod {
        name: "E3",
        user: (1000, ALL),
        sets: (NONE, NONE),
        filtered: false,
        map: Map::One,
        failed: &[PLAIN[0], PLAIN[1], PLAIN[2], PLAIN[3], NO_PROC],
    },
    Pod {
        name: "E3b",
        user: (1000, ALL),
        sets: (NONE, ENGINE),
        filtered: false,
        map: Map::Helper,
        failed: &[PLAIN[0], PLAIN[1], PLAIN[2], PLAIN[3], NO_PROC],
    },
    Pod {
        name: "E4",
        user: (1000, ALL),
        sets: (NONE, NONE),
        filtered: true,
        map: Map::No,
        failed: &[PLAIN[0], PLAIN[1], PLAIN[2], PLAIN[3], FILTERED[0], FILTERED[1]],
    },
    Pod {
        name: "E5",
        user: (0, 65536),
        sets: (ENGINE, ENGINE),
        filtered: true,
        map: Map::No,
        failed: &[NO_DEVICE, FILTERED[0], FILTERED[1]],
    },
    Pod {
        name: "E5un",
        user: (0, 65536),
        sets: (ENGINE, ENGINE),
        filtered: false,
        map: SHIFTED,
        failed: &[NO_DEVICE, NO_PROC],
    },
    Pod {
        name: "E5u",
        user: (0, 65536),
        sets: (ENGINE, ENGINE),
        filtered: false,
        map: SHIFTED,
        failed: &[NO_DEVICE],
    },
    Pod {
        name: "E5a",
        user: (0, 65536),
        sets: (EVERY, EVERY),
        filtered: true,
        map: SHIFTED,
        failed: &[NO_DEVICE, (Mechanism::PivotRoot, EPERM)],
    },
    Pod {
        name: "E6",
        user: (0, ALL),
        sets: (EVERY, EVERY),
        filtered: false,
        map: FULL,
        failed: &[],
    },
    Pod {
        name: "E7",
        user: (0, ALL),
        sets: (ENGINE, ENGINE),
        filtered: true,
        map: FULL,
        failed: &[
            (Mechanism::Mount, EACCES),
            (Mechanism::OverlayUpper, EACCES),
            (Mechanism::PivotRoot, EACCES),
            (Mechanism::FreshProc, EACCES),
        ],
    },
    Pod {
        name: "E8",
        user: (1_000_660_000, ALL),
        sets: (NONE, NONE),
        filtered: true,
        map: Map::No,
        failed: &[PLAIN[0], PLAIN[1], PLAIN[2], PLAIN[3], FILTERED[0], FILTERED[1]],
    },
];

fn pod(name: &str) -> Capabilities {
    let pod = PODS.iter().find(|pod| pod.name == name).unwrap();
    let mut caps = Capabilities {
        uid: pod.user.0,
        ids: pod.user.1,
        effective: pod.sets.0,
        bounding: pod.sets.1,
        filtered: pod.filtered,
        map: pod.map,
        landlock_abi: Some(7),
        ..Capabilities::default()
    };
    let failed = |tried: &Mechanism| pod.failed.iter().find(|(failed, _)| failed == tried);
    for tried in Mechanism::ALL {
        match failed(&tried) {
            Some((_, errno)) => caps.note(tried, *errno),
            None if INSIDE.contains(&tried) && pod.map == Map::No => {}
            None => caps.note(tried, 0),
        }
    }
    caps
}

/// The changes that help, as text: `RUNG by CHANGE and CHANGE`.
fn helps(caps: &Capabilities, needs: &Needs, choice: Choice) -> Vec<String> {
    let text = |remedy: &Remedy| {
        let changes: Vec<String> =
            remedy.changes.iter().map(|change| format!("{change:?}")).collect();
        format!("{} by {}", remedy.rung, changes.join("+"))
    };
    remedies(caps, needs, choice).iter().map(text).collect()
}

const ROOT: &str = "DefaultCapabilities+RunAsRoot";

#[test]
fn each_kind_of_pod_gets_its_rung_and_the_cheapest_way_up() {
    let none: &[&str] = &[];
    for (name, rung, ways) in [
        ("E1", Some(Rung::OverlayFull), none),
        ("E1np", Some(Rung::OverlayFull), none),
        ("E2", Some(Rung::Chroot), &["overlay-full by SeccompUnconfined"]),
        ("E3", None, &["overlay-full by DefaultCapabilities+RunAsRoot"]),
        ("E3b", Some(Rung::OverlayFull), none),
        (
            "E4",
            None,
            &[
                "chroot by DefaultCapabilities+RunAsRoot",
                "overlay-full by DefaultCapabilities+RunAsRoot+SeccompUnconfined",
            ],
        ),
        ("E5", Some(Rung::Chroot), &["overlay-full by SeccompUnconfined"]),
        ("E5un", Some(Rung::OverlayFull), none),
        ("E5u", Some(Rung::OverlayFull), none),
        ("E5a", Some(Rung::OverlayFull), none),
        ("E6", Some(Rung::OverlayFull), none),
        ("E7", Some(Rung::Chroot), &["overlay-full by AppArmorUnconfined"]),
        (
            "E8",
            None,
            &[
                "chroot by DefaultCapabilities+RunAsRoot",
                "overlay-full by DefaultCapabilities+RunAsRoot+SeccompUnconfined",
            ],
        ),
    ] {
        let (caps, plain) = (pod(name), Needs::none());
        assert_eq!(choose(&caps, &plain, Choice::Auto).ok(), rung, "{name}");
        assert_eq!(helps(&caps, &plain, Choice::Auto), ways, "{name}");
    }
}

#[test]
fn a_pinned_rung_is_taken_or_refused() {
    let plain = Needs::none();
    for (name, overlay, chroot) in [
        ("E1", true, true),
        ("E2", false, true),
        ("E3b", true, false),
        ("E4", false, false),
        ("E5", false, true),
        ("E7", false, true),
    ] {
        let caps = pod(name);
        let taken = |choice| choose(&caps, &plain, choice).ok();
        assert_eq!(taken(Choice::Overlay), overlay.then_some(Rung::OverlayFull), "{name}");
        assert_eq!(taken(Choice::Chroot), chroot.then_some(Rung::Chroot), "{name}");
        assert_eq!(taken(Choice::None), Some(Rung::None), "{name}");
    }
    assert_eq!(helps(&pod("E4"), &plain, Choice::Chroot), [format!("chroot by {ROOT}")]);
    assert_eq!(helps(&pod("E2"), &plain, Choice::Overlay), ["overlay-full by SeccompUnconfined"]);
}

#[test]
fn what_a_step_needs_takes_it_up_or_out() {
    let needs = |need| Needs::from_iter([need]);
    for (name, need, rung, ways) in [
        ("E1", Need::OwnNetwork, Some(Rung::OverlayFull), vec![]),
        ("E2", Need::OwnNetwork, None, vec!["overlay-full by SeccompUnconfined"]),
        ("E7", Need::CacheMount, None, vec!["overlay-full by AppArmorUnconfined"]),
        ("E2", Need::BindMount, None, vec!["overlay-full by SeccompUnconfined"]),
        ("E2", Need::TmpfsMount, None, vec!["overlay-full by SeccompUnconfined"]),
        ("E2", Need::SecretFile, None, vec!["overlay-full by SeccompUnconfined"]),
        ("E2", Need::SshAgent, None, vec!["overlay-full by SeccompUnconfined"]),
        ("E2", Need::Id(70000), Some(Rung::Chroot), vec!["overlay-full by SeccompUnconfined"]),
        (
            "E5",
            Need::Id(70000),
            None,
            vec!["chroot by MoreIds", "overlay-full by SeccompUnconfined+MoreIds"],
        ),
        ("E5un", Need::Id(70000), None, vec!["overlay-full by MoreIds"]),
        ("E5un", Need::Id(65535), Some(Rung::OverlayFull), vec![]),
        ("E3b", Need::Id(65536), Some(Rung::OverlayFull), vec![]),
    ] {
        let caps = pod(name);
        assert_eq!(choose(&caps, &needs(need), Choice::Auto).ok(), rung, "{name} {need}");
        assert_eq!(helps(&caps, &needs(need), Choice::Auto), ways, "{name} {need}");
    }
}

#[test]
fn without_one_mechanism_the_next_rung_is_taken() {
    let plain = Needs::none();
    let without = |name: &str, lost: &[Mechanism]| {
        let mut caps = pod(name);
        for mechanism in lost {
            caps.note(*mechanism, EPERM);
        }
        if lost.contains(&Mechanism::UserNamespace) {
            caps.map = Map::No;
            (caps.mount, caps.overlay_upper) = (false, false);
        }
        choose(&caps, &plain, Choice::Auto).map_or(Rung::None, |rung| rung)
    };
    use Mechanism::{AddFd, Chroot, Mknod, Mount, SeccompNotify, UserNamespace};
    for (name, lost, rung) in [
        ("E1", &[UserNamespace] as &[_], Rung::Chroot),
        ("E1", &[Mount], Rung::Chroot),
        ("E1", &[Mount, Chroot], Rung::None),
        ("E1", &[SeccompNotify, AddFd, Mknod, Chroot], Rung::OverlayFull),
        ("E2", &[Chroot], Rung::None),
        ("E2", &[AddFd], Rung::Chroot),
        ("E2", &[Mknod], Rung::Chroot),
        ("E2", &[Mknod, AddFd], Rung::None),
        ("E5", &[AddFd], Rung::None),
        ("E2", &[Mechanism::Chown], Rung::None),
        ("E2", &[Mechanism::SetIds], Rung::None),
    ] {
        assert_eq!(without(name, lost), rung, "{name} without {lost:?}");
    }
    let mut caps = pod("E2");
    caps.effective = caps.effective.without(Privileges::FOREIGN_FILES);
    let refusal = choose(&caps, &plain, Choice::Chroot).unwrap_err();
    assert_eq!(refusal.lacks, [(Rung::Chroot, vec![Lack::Privileges])]);
    assert_eq!(helps(&caps, &plain, Choice::Chroot), ["chroot by DefaultCapabilities"]);
}

#[test]
fn a_work_directory_on_the_containers_own_file_system_wants_a_volume() {
    let plain = Needs::none();
    for (name, rung) in [("E1", Some(Rung::Chroot)), ("E3b", None)] {
        let mut caps = pod(name);
        caps.note(Mechanism::OverlayUpper, libc::EINVAL);
        caps.volume = Volume { unfit: true, setgid: false };
        assert_eq!(choose(&caps, &plain, Choice::Auto).ok(), rung, "{name}");
        assert_eq!(helps(&caps, &plain, Choice::Auto), ["overlay-full by EmptyDir"], "{name}");
    }
    let mut caps = pod("E2");
    caps.volume.unfit = true;
    let ways = helps(&caps, &plain, Choice::Auto);
    assert_eq!(ways, ["overlay-full by EmptyDir+SeccompUnconfined"]);
}

#[test]
fn a_node_without_user_namespaces_is_told_from_a_filter() {
    let mut caps = pod("E2");
    caps.filtered = false;
    let ways = helps(&caps, &Needs::none(), Choice::Auto);
    assert_eq!(ways, ["overlay-full by NodeNamespaces"]);
}

#[test]
fn a_refusal_says_what_is_missing_and_what_to_change() {
    let refusal = choose(&pod("E4"), &Needs::none(), Choice::Auto).unwrap_err();
    assert_eq!(
        refusal.to_string(),
        "RUN cannot be executed in this pod: overlay-full: user namespaces are refused, only one \
         user id can be mapped; chroot: chroot is refused, files and processes cannot get other \
         ids, CAP_DAC_OVERRIDE, CAP_FOWNER, CAP_FSETID or CAP_SETPCAP is missing"
    );
    let hint = refusal.hint();
    let (first, second) = hint.split_once('\n').unwrap();
    assert!(first.starts_with("for chroot: ") && first.contains("runAsUser: 0"), "{first}");
    assert!(second.contains("seccompProfile.type: Unconfined"), "{second}");
    let impossible = Needs::from_iter([Need::Id(70000)]);
    let refusal = choose(&pod("E3b"), &impossible, Choice::Chroot).unwrap_err();
    assert!(refusal.to_string().contains("chroot is refused"), "{refusal}");
    let alone = Needs::from_iter([Need::OwnNetwork]);
    let refusal = choose(&pod("E1"), &alone, Choice::Chroot).unwrap_err();
    assert_eq!(refusal.hint(), "leave --runtime out: the rung overlay-full can do it here");
    let many = Needs::from_iter([Need::Id(u32::MAX)]);
    let refusal = choose(&pod("E1"), &many, Choice::Auto).unwrap_err();
    assert!(refusal.to_string().contains("it cannot give the id 4294967295"), "{refusal}");
    assert!(refusal.hint().contains("no change"), "{}", refusal.hint());
}

#[test]
fn a_container_of_one_id_wants_more() {
    let mut caps = pod("E6");
    caps.ids = 1;
    caps.map = Map::Full { len: 1 };
    caps.note(Mechanism::Chown, libc::EINVAL);
    caps.note(Mechanism::SetIds, libc::EINVAL);
    let refusal = choose(&caps, &Needs::none(), Choice::Auto).unwrap_err();
    assert!(refusal.to_string().contains("only one user id can be mapped"), "{refusal}");
    assert_eq!(helps(&caps, &Needs::none(), Choice::Auto), ["overlay-full by MoreIds"]);
}

#[test]
fn choices_are_written_as_they_are_read() {
    for choice in [Choice::Auto, Choice::Overlay, Choice::Chroot, Choice::None] {
        assert_eq!(choice.to_string().parse(), Ok(choice));
    }
    assert!("proot".parse::<Choice>().is_err());
}
