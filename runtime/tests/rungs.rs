//! The same steps on every rung of this machine: the entries of their layers are the same, byte by
//! byte, whatever the steps ran upon.

use longshore_runtime::{Choice, Rung};

use crate::bench::{Bench, dir, file, file_of, hard_link, link, opaque, owned, whiteout};

/// Steps, each upon the layers of those before. An empty one stands for a layer that is copied in.
const SCRIPTS: [&str; 28] = [
    "true",
    "echo new >/new; mkdir -p /deep/er; echo x >/deep/er/x",
    "cat /etc/passwd >/dev/null; touch -c /nothing; chmod 755 /bin",
    "echo more >>/new; echo same >/keep/same",
    "rm /keep/gone; rmdir /keep/empty",
    "rm -r /keep/tree; mkdir /keep/tree; echo again >/keep/tree/low",
    "",
    "cat /copied; echo over >/copied; ls /keep",
    "rm -r /deep; echo file >/deep",
    "rm /deep; mkdir /deep; ln -s nowhere /deep/link",
    "mv /keep/tree /keep/moved; echo y >/keep/moved/y",
    "ln /new /again; chmod 750 /again",
    // Writing through one of two names is the known difference: an overlay breaks the link.
    "cp /new /made; mv /made /new; echo one >>/new",
    "rm /new",
    // So is changing a file of several names: they all stay one file in a tree.
    "rm /keep/two; chown -R 1000:1001 /keep; chmod g+s /keep",
    "chown 5:6 /keep/same; chmod 4711 /keep/same",
    "touch -d @77 /keep/same /keep",
    "cp -a /bin/busybox /copy; dd if=/dev/zero of=/big bs=64k count=20 2>/dev/null",
    "echo 0000 >/same; touch -d @99 /same",
    // The same size, and the old time put back.
    "echo 1111 >/same; touch -d @99 /same",
    // The same content in a new file.
    "echo 1111 >/other; touch -d @99 /other; mv /other /same",
    "mkfifo -m 640 /pipe; mknod /pipe2 p; ln -s /etc/hosts /hosts",
    "rm /etc/passwd; echo root:x:0:0::/root:/bin/sh >/etc/passwd",
    "echo >>/etc/hosts; echo x >/etc/new; rm /etc/new",
    "",
    "i=0; while [ $i -lt 200 ]; do echo $i >/keep/$i; i=$((i+1)); done; rm /keep/1?",
    "mkdir -m 700 /closed; echo s >/closed/s; chown 1000 /closed; rm -r /keep/2*",
    "mkdir /a; mv /a /b; rmdir /b; rm /same /pipe2 /hosts",
];

#[test]
fn the_same_steps_make_the_same_layers_on_every_rung() {
    let mut found: Vec<(Rung, Vec<String>)> = Vec::new();
    for choice in [Choice::Overlay, Choice::Chroot] {
        // A plain user has only one rung, which is no reason to speak of skipping.
        if choice == Choice::Chroot && !rustix::process::geteuid().is_root() {
            continue;
        }
        let Some(bench) = Bench::on(choice) else { continue };
        found.push((bench.sandbox.rung(), layers(&bench)));
    }
    for pair in found.windows(2) {
        for (number, script) in SCRIPTS.iter().enumerate() {
            let [one, other] = [&pair[0], &pair[1]].map(|(_, layers)| layers.get(number));
            assert_eq!(one, other, "{} and {}: {script}", pair[0].0, pair[1].0);
        }
    }
}

/// The entries of each step, in words.
fn layers(bench: &Bench) -> Vec<String> {
    let mut layers = vec![bench.busybox(), below(bench)];
    let mut words = Vec::new();
    for script in SCRIPTS {
        if script.is_empty() {
            let copied =
                [file("copied", script), dir("keep", 0o711), whiteout("keep/same"), file("0", "")];
            layers.push(bench.layer(&layers, &copied));
            words.push(String::new());
            continue;
        }
        let argv = ["/bin/sh", "-c", script];
        let ran = bench.step(&layers, &argv, |step| step.clamp_mtime = Some(1000)).unwrap();
        let (changes, stats) = bench.changes(&ran);
        let entries: Vec<String> =
            changes.values().map(|(entry, content)| format!("{entry:?} {content:?}")).collect();
        words.push(format!("{} {} {}", ran.exit.code, ran.stdout, entries.join("\n")));
        if entries.is_empty() {
            bench.sandbox.keep_unchanged(&ran.step).unwrap();
        } else if stats.reusable {
            let place = bench.fresh("kept");
            bench.sandbox.keep(&ran.step, &place).unwrap();
            layers.push(place);
        } else {
            let entries: Vec<_> = changes.into_values().collect();
            layers.push(bench.layer(&layers, &entries));
        }
    }
    words
}

fn below(bench: &Bench) -> std::path::PathBuf {
    let lower = bench.layer(&[], &[dir("keep", 0o755), dir("hidden", 0o755), file("hidden/x", "")]);
    let entries = [
        owned(dir("keep", 0o755), 3, 4),
        file("keep/same", "same\n"),
        file("keep/gone", ""),
        dir("keep/empty", 0o700),
        dir("keep/tree", 0o750),
        file("keep/tree/low", "low"),
        file_of("keep/tree/tool", 0o4755, b"#!"),
        link("keep/link", "same"),
        file("keep/one", "1"),
        hard_link("keep/two", "keep/one"),
        dir("hidden", 0o711),
        opaque("hidden"),
    ];
    bench.layer(&[lower], &entries)
}
