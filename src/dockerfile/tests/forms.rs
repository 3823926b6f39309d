//! Every instruction in its forms.

use std::time::Duration;

use super::super::{
    Assignment, Command, HealthTest, Healthcheck, InstructionKind, RunOptions, Spanned,
};
use super::{instruction, read, values};

fn exec(words: &[&str]) -> Command {
    Command::Exec(words.iter().map(|&word| word.to_owned()).collect())
}

fn shell(text: &str) -> Command {
    Command::Shell(text.to_owned())
}

fn pairs(assignments: &[Assignment]) -> Vec<(&str, &str)> {
    assignments.iter().map(|pair| (pair.name.value.as_str(), pair.value.value.as_str())).collect()
}

fn value(word: Option<&Spanned<String>>) -> Option<&str> {
    word.map(|word| word.value.as_str())
}

#[test]
fn stages_have_bases_names_and_platforms() {
    let source = "ARG V=12\nARG a b=\"c d\"\nFROM debian:$V AS Build\nFROM --platform=$BUILDPLATFORM a@sha256:0 as x-1.2_y\nFROM scratch\nCOPY --from=0 / /\n";
    let file = read(source);
    let args: Vec<_> = file
        .global_args
        .iter()
        .map(|arg| (arg.name.value.as_str(), value(arg.default.as_ref())))
        .collect();
    assert_eq!(args, [("V", Some("12")), ("a", None), ("b", Some("\"c d\""))]);
    let stages: Vec<_> = file
        .stages
        .iter()
        .map(|stage| {
            (
                stage.from.value.as_str(),
                value(stage.name.as_ref()),
                value(stage.platform.as_ref()),
                stage.instructions.len(),
            )
        })
        .collect();
    assert_eq!(
        stages,
        [
            ("debian:$V", Some("build"), None, 0),
            ("a@sha256:0", Some("x-1.2_y"), Some("$BUILDPLATFORM"), 0),
            ("scratch", None, None, 1),
        ]
    );
    assert_eq!(file.stage_by_name("BUILD"), Some(0));
    assert_eq!(file.stage_by_name("0"), None);
    assert_eq!(file.stage_by_reference("2"), Some(2));
    assert_eq!(file.stage_by_reference("3"), None);
}

#[test]
fn commands_are_json_or_else_for_the_shell() {
    for (text, command) in [
        ("echo  hi", shell("echo  hi")),
        ("[\"a\", \"b c\"]", exec(&["a", "b c"])),
        ("  [ \"a\\u00e9\\n\" ]  ", exec(&["aé\n"])),
        ("[\"a\",]", shell("[\"a\",]")),
        ("['a', 'b']", shell("['a', 'b']")),
        ("[\"a\"] b", shell("[\"a\"] b")),
        ("[ -f x ] && y", shell("[ -f x ] && y")),
        ("a --flag", shell("a --flag")),
        ("-- --flag", shell("--flag")),
    ] {
        let options = RunOptions::default();
        let run = InstructionKind::Run { command: command.clone(), script: None, options };
        assert_eq!(instruction(&format!("RUN {text}")), run, "{text}");
        let cmd = InstructionKind::Cmd(command.clone());
        assert_eq!(instruction(&format!("cmd {text}")), cmd, "{text}");
        let entrypoint = InstructionKind::Entrypoint(command);
        assert_eq!(instruction(&format!("EntryPoint {text}")), entrypoint, "{text}");
    }
    assert_eq!(instruction("CMD []"), InstructionKind::Cmd(exec(&[])));
    assert_eq!(instruction("ENTRYPOINT [ ]"), InstructionKind::Entrypoint(exec(&[])));
}

#[test]
fn assignments_keep_quotes_and_escapes() {
    for (text, expected) in [
        ("a=b", vec![("a", "b")]),
        ("a=\"b c\" d=e\\ f", vec![("a", "\"b c\""), ("d", "e\\ f")]),
        ("a='$x y'  b=\\$x", vec![("a", "'$x y'"), ("b", "\\$x")]),
        ("a= b=\"\"", vec![("a", ""), ("b", "\"\"")]),
        ("a=b=c", vec![("a", "b=c")]),
        ("a=\"b\"'c'd", vec![("a", "\"b\"'c'd")]),
        ("a=\"b \\\" c\"", vec![("a", "\"b \\\" c\"")]),
        ("a='b \\' c=d", vec![("a", "'b \\'"), ("c", "d")]),
        ("a=b\\\\ c=d", vec![("a", "b\\\\"), ("c", "d")]),
        ("a=\"open b=c", vec![("a", "\"open b=c")]),
        ("a=é\u{a0}b=ü", vec![("a", "é"), ("b", "ü")]),
        ("\"a b\"=c", vec![("\"a b\"", "c")]),
        ("a b c", vec![("a", "b c")]),
        ("a   b=\"c\"  d", vec![("a", "b=\"c\"  d")]),
        ("a\t'b c'", vec![("a", "'b c'")]),
    ] {
        for keyword in ["ENV", "label"] {
            let (InstructionKind::Env(found) | InstructionKind::Label(found)) =
                instruction(&format!("{keyword} {text}"))
            else {
                panic!("{text}");
            };
            assert_eq!(pairs(&found), expected, "{text}");
        }
    }
}

#[test]
fn args_have_defaults_or_none() {
    let InstructionKind::Arg(args) = instruction("ARG a b= c=\"d e\" f=g=h") else { panic!() };
    let found: Vec<_> =
        args.iter().map(|arg| (arg.name.value.as_str(), value(arg.default.as_ref()))).collect();
    assert_eq!(found, [("a", None), ("b", Some("")), ("c", Some("\"d e\"")), ("f", Some("g=h"))]);
}

#[test]
fn copy_and_add_have_flags_sources_and_a_destination() {
    let InstructionKind::Copy(copy) =
        instruction("COPY --from=build --chown=$U:g --chmod=0755 a b* /c/")
    else {
        panic!()
    };
    assert_eq!(value(copy.from.as_ref()), Some("build"));
    assert_eq!(value(copy.chown.as_ref()), Some("$U:g"));
    assert_eq!(value(copy.chmod.as_ref()), Some("0755"));
    assert_eq!((values(&copy.sources), copy.destination.value.as_str()), (vec!["a", "b*"], "/c/"));

    let InstructionKind::Copy(copy) = instruction("COPY --chown=\"a b\":c\\ d x y") else {
        panic!()
    };
    assert_eq!(value(copy.chown.as_ref()), Some("a b:c d"));

    let InstructionKind::Add(add) = instruction("ADD --chmod=$MODE [\"a b\", \"c\", \"d\"]") else {
        panic!()
    };
    assert_eq!(value(add.chmod.as_ref()), Some("$MODE"));
    assert_eq!((values(&add.sources), add.destination.value.as_str()), (vec!["a b", "c"], "d"));

    let InstructionKind::Add(add) = instruction("ADD git@file a@b/c:d ./https://x /y") else {
        panic!()
    };
    assert_eq!(add.sources.len(), 3);
}

#[test]
fn texts_are_taken_whole() {
    for (text, expected) in [
        ("WORKDIR /a b/$c", "/a b/$c"),
        ("USER 1000:1000", "1000:1000"),
        ("STOPSIGNAL  SIGTERM ", "SIGTERM"),
        ("MAINTAINER A B <a@b>", "A B <a@b>"),
    ] {
        use InstructionKind as Kind;
        let (Kind::Workdir(word)
        | Kind::User(word)
        | Kind::StopSignal(word)
        | Kind::Maintainer(word)) = instruction(text)
        else {
            panic!("{text}");
        };
        assert_eq!(word.value, expected);
    }
}

#[test]
fn lists_are_split_at_spaces_or_json() {
    let InstructionKind::Expose(ports) = instruction("EXPOSE 80 443/tcp 8000-8010/UDP ${P}/tcp")
    else {
        panic!()
    };
    assert_eq!(values(&ports), ["80", "443/tcp", "8000-8010/UDP", "${P}/tcp"]);
    for (text, expected) in [
        ("VOLUME /a $b", vec!["/a", "$b"]),
        ("VOLUME [\"/a b\", \" /c \"]", vec!["/a b", "/c"]),
        ("VOLUME [/a /b", vec!["[/a", "/b"]),
    ] {
        let InstructionKind::Volume(volumes) = instruction(text) else { panic!("{text}") };
        assert_eq!(values(&volumes), expected, "{text}");
    }
    assert_eq!(
        instruction("SHELL [\"/bin/bash\", \"-c\"]"),
        InstructionKind::Shell(vec!["/bin/bash".to_owned(), "-c".to_owned()])
    );
}

#[test]
fn health_checks_have_all_options() {
    assert_eq!(instruction("HEALTHCHECK none"), InstructionKind::Healthcheck(Healthcheck::None));
    let all = "HEALTHCHECK --interval=1m30s --timeout=500ms --start-period=1.5s \\\n --start-interval=1s --retries=3 cmd [\"a\"]";
    let absent = HealthTest {
        command: shell("a --b"),
        interval: None,
        timeout: None,
        start_period: None,
        start_interval: None,
        retries: None,
    };
    let given = HealthTest {
        command: exec(&["a"]),
        interval: Some(Duration::from_secs(90)),
        timeout: Some(Duration::from_millis(500)),
        start_period: Some(Duration::from_millis(1500)),
        start_interval: Some(Duration::from_secs(1)),
        retries: Some(3),
    };
    for (text, test) in [
        ("HEALTHCHECK CMD a --b", absent.clone()),
        ("HEALTHCHECK --interval=0s --retries=0 CMD a --b", absent),
        (all, given),
    ] {
        let expected = InstructionKind::Healthcheck(Healthcheck::Check(test));
        assert_eq!(instruction(text), expected, "{text}");
    }
}

#[test]
fn triggers_are_kept_as_text_and_read() {
    let InstructionKind::OnBuild(trigger) = instruction("ONBUILD  copy --chown=a \\\n  b  /c")
    else {
        panic!()
    };
    assert_eq!(trigger.text.value, "copy --chown=a   b  /c");
    assert_eq!(trigger.instruction.text, "COPY --chown=a   b  /c");
    assert!(matches!(trigger.instruction.kind, InstructionKind::Copy(_)));
}

#[test]
fn a_heredoc_alone_is_the_script() {
    for (text, expected) in [
        ("RUN <<EOF\nmake\n\tall $x \\\n# kept\n\nEOF", "make\n\tall $x \\\n# kept\n\n"),
        ("RUN <<-'a b'\n\t\tmake\n\t all\n\ta b", "make\n all\n"),
        ("RUN <<EOF\nEOF", ""),
        ("RUN << EOF\nmake\nEOF", "make\n"),
    ] {
        let InstructionKind::Run { command, .. } = instruction(text) else { panic!("{text}") };
        assert_eq!(command, shell(expected), "{text}");
    }
}

#[test]
fn a_heredoc_that_names_its_interpreter_is_a_file_that_the_shell_runs() {
    for (text, name, content) in [
        (
            "RUN <<EOF\n#!/usr/bin/env python3\nprint($x)\nEOF",
            "EOF",
            "#!/usr/bin/env python3\nprint($x)\n",
        ),
        (
            "RUN --network=none <<-'my script'\n\t#!/bin/sh\n\t my script\n\tmy script",
            "my script",
            "#!/bin/sh\n my script\n",
        ),
    ] {
        let InstructionKind::Run { command, script, .. } = instruction(text) else { panic!() };
        assert_eq!(command, shell(&format!("/dev/pipes/{name}")), "{text}");
        let script = script.unwrap();
        assert_eq!((script.name.value.as_str(), script.text.as_str()), (name, content));
    }
    for text in
        ["RUN <<a/b\n #!/bin/sh\na/b", "RUN cat <<EOF\n#!/bin/sh\nEOF", "RUN <<A <<B\n#!\nA\nB"]
    {
        let InstructionKind::Run { script, .. } = instruction(text) else { panic!() };
        assert_eq!(script, None, "{text}");
    }
}

#[test]
fn other_heredocs_are_left_to_the_shell() {
    for (text, expected) in [
        ("RUN cat <<EOF > x\na\nEOF", "cat <<EOF > x\na\nEOF"),
        ("RUN cat 3<<-'E F' <<b\n\tx\n\tE F\ny\nb", "cat 3<<-'E F' <<b\n\tx\nE F\ny\nb"),
        ("RUN a \\\n <<\"EOF\" \\\n b\nx\nEOF", "a  <<\"EOF\"  b\nx\nEOF"),
    ] {
        let InstructionKind::Run { command, .. } = instruction(text) else { panic!("{text}") };
        assert_eq!(command, shell(expected), "{text}");
    }
    let text = "ONBUILD RUN cat <<EOF\nx\nEOF";
    let InstructionKind::OnBuild(trigger) = instruction(text) else { panic!() };
    assert_eq!(trigger.text.value, "RUN cat <<EOF\nx\nEOF");
    let again = super::super::parse_trigger(&trigger.text.value).unwrap();
    assert_eq!(again.kind, trigger.instruction.kind);
}

#[test]
fn heredocs_of_copy_are_files() {
    let text = "COPY --chmod=600 a <<one <<-\"two\" b /c/\n$x\none\n\t\t$y\r\ntwo";
    let InstructionKind::Copy(copy) = instruction(text) else { panic!() };
    assert_eq!(values(&copy.sources), ["a", "b"]);
    assert_eq!(copy.destination.value, "/c/");
    let found: Vec<_> = copy
        .heredocs
        .iter()
        .map(|file| (file.name.value.as_str(), file.text.as_str(), file.expands))
        .collect();
    assert_eq!(found, [("one", "$x\n", true), ("two", "$y\r\n", false)]);
    let InstructionKind::Add(add) = instruction("ADD <<EOF /x\nEOF") else { panic!() };
    assert!(add.sources.is_empty() && add.heredocs.len() == 1);
}

#[test]
fn what_only_looks_like_a_heredoc_is_none() {
    for text in [
        "RUN echo \"<<EOF\"",
        "RUN echo '<<EOF'",
        "RUN echo \\<<EOF",
        "RUN cat <<< text",
        "RUN cat <<<text",
        "RUN echo $((1 << 2))",
        "RUN echo $((1<<2))",
        "RUN [\"cat\", \"<<EOF\"]",
        "RUN echo \"open <<EOF",
        "RUN cat <<",
        "CMD cat <<EOF",
        "COPY a<<b /c",
    ] {
        instruction(text);
    }
}
