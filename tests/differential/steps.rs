//! The instructions of a generated stage.
//!
//! Every stage first copies `top.txt` to `/marker-N`, so that later stages have something to take
//! from it. Files that have two names are not changed by a later step: whether the other name
//! follows depends on the file system that a builder works on.

use super::case::{Base, Stage};
use super::generator::KEEP;
use crate::support::random::Random;

/// Writes one stage.
pub(crate) struct StageWriter<'a> {
    random: &'a mut Random,
    number: usize,
    root: &'a Base,
    directories: &'a [String],
    sources: Vec<&'a Stage>,
    /// Files that RUN steps of this stage have made and that may be changed.
    files: Vec<String>,
    count: usize,
    steps: Vec<String>,
}

impl<'a> StageWriter<'a> {
    /// A stage whose chain of bases ends in `root`.
    pub(crate) fn new(
        random: &'a mut Random,
        number: usize,
        root: &'a Base,
        directories: &'a [String],
    ) -> Self {
        let (sources, files, steps) = (Vec::new(), Vec::new(), Vec::new());
        Self { random, number, root, directories, sources, files, count: 0, steps }
    }

    /// Names the stages that `COPY --from` may take from.
    pub(crate) fn copy_from_candidates(&mut self, stages: &'a [Stage]) {
        self.sources = stages.iter().collect();
    }

    /// Returns the instructions.
    pub(crate) fn write(mut self) -> Vec<String> {
        self.step(format!("COPY top.txt /marker-s{}", self.number));
        if *self.root != Base::Scratch && self.random.once_in(2) {
            self.odd_directory();
        }
        for _ in 0..2 + self.random.below(7) {
            self.count += 1;
            match self.random.below(10) {
                0..=2 if *self.root != Base::Scratch => self.run(),
                3..=5 => self.copy(),
                6 => self.add(),
                7 => self.copy_from(),
                _ => self.configure(),
            }
        }
        self.steps
    }

    fn step(&mut self, text: String) {
        self.steps.push(text);
    }

    /// A new path in the image; the numbers keep steps apart.
    fn fresh(&mut self) -> String {
        format!("/opt/{}{}-{}", self.random.pick(&["f", "g", "h"]), self.number, self.count)
    }

    /// A directory of which the content has unusual modes, owners and names.
    fn odd_directory(&mut self) {
        let odd = odd_directory(&format!("s{}", self.number));
        self.step(format!(
            "RUN mkdir -p {odd}/in/er {odd}/in-2 && echo f > {odd}/in/f && ln {odd}/in/f {odd}/in/g && \\\n    \
             ln -s f {odd}/in/s && echo t > {odd}/in.txt && chmod 4711 {odd}/in.txt && \\\n    \
             chown -R 7:8 {odd}/in && chmod 2751 {odd}/in && chmod 1777 {odd}/in/er && chmod 0 {odd}/in-2"
        ));
    }

    fn run(&mut self) {
        let path = self.fresh();
        let script = match (self.random.below(18), self.files.pop()) {
            (0, Some(file)) => {
                format!("chmod 0{} {file}", self.random.pick(&["600", "4711", "2755"]))
            }
            (1, Some(file)) => format!("chown 1000:50 {file}"),
            (2, Some(file)) => format!("rm {file}"),
            (3, Some(file)) => format!("mv {file} {path}"),
            (4, Some(file)) => format!("ln {file} {path}"),
            (5, Some(file)) => format!("rm {file} && mkdir {file} && echo in > {file}/in"),
            (6, _) => {
                format!("mkdir -p {path}/sub/er && chmod 0750 {path}/sub && chown web {path}")
            }
            (7, _) => format!("ln -s ../nowhere {path} && mkfifo -m 600 {path}.pipe"),
            (8, _) => format!(
                "printf '%s\\n' \"$FROM_OUTSIDE\" \"$SET\" > {path} && \\\n    pwd >> {path}"
            ),
            (9, _) => self.run_on_base(&path),
            (10, _) => format!("echo a > {path} && ln {path} {path}.b && chmod 640 {path}.b"),
            (11, _) => format!("echo a > {path} && ln {path} {path}-b && echo b >> {path}-b"),
            (12, _) => format!("mkdir -p {path}/x && echo 1 > {path}/x/f && mv {path}/x {path}/y"),
            (13, _) => format!(
                "mkdir {path} {path}-b {path}b && echo 1 | tee {path}/z {path}-b/z {path}.txt > {path}b/z"
            ),
            (14, _) => format!(
                "mkdir -p {path}/$(printf %0200d 1)/$(printf %0200d 2) && echo long > {path}-$(printf %0150d 7)"
            ),
            (15, _) => {
                format!("mkdir -m 1777 {path} && mkdir -m 2770 {path}/ž && echo ü > {path}/ž/ñ")
            }
            (_, _) => {
                self.files.push(path.clone());
                format!("umask 027 && echo made > {path}")
            }
        };
        let form = if self.random.once_in(6) {
            let script = script.replace("\\\n    ", "").replace('\\', "\\\\").replace('"', "\\\"");
            format!("RUN [\"/bin/sh\", \"-c\", \"{script}\"]")
        } else {
            format!("RUN {script}")
        };
        self.step(form);
    }

    /// Changes of what came with the base image.
    fn run_on_base(&mut self, path: &str) -> String {
        if *self.root != Base::Crafted {
            return format!(
                "rm -f /etc/group- && ls / > {path}.ls && rm {path}.ls && mkdir {path}"
            );
        }
        match self.random.below(9) {
            4 => format!("mv /op {path}; mv /shared {path}-2 && mkdir -m 2755 /shared"),
            5 => "rm -rf /kept && echo file > /kept && rm /kept && mkdir /kept && echo a > /kept/a"
                .to_owned(),
            6 => "rm -rf /special && echo 'a file now' > /special".to_owned(),
            7 => "rm -rf /special && mkdir -p /special/er && echo n > /special/noted".to_owned(),
            0 => "rm -rf /op && mkdir -m 0711 /op && echo again > /op/again".to_owned(),
            1 => format!("ls /op /kept > {path} 2>&1 || true"),
            2 => "rm -f /links/three; test -f /special || rm -f /special/pipe".to_owned(),
            3 => "! test -d /special || chown 0:50 /special/noted && chmod -R 0600 /special"
                .to_owned(),
            _ => format!("rm -rf /kept && cp -a /shared {path}"),
        }
    }

    fn copy(&mut self) {
        let flags = self.flags();
        let target = self.target();
        let Some(directory) = self.some_directory() else {
            self.step(format!("COPY {flags}top.txt {target}/"));
            return;
        };
        let text = match self.random.below(11) {
            9 if *self.root != Base::Scratch => {
                let link = self.link_to_directory();
                format!("COPY {flags}{directory}/{KEEP} {link}\nCOPY top.txt {link}/new/")
            }
            10 if *self.root != Base::Scratch => {
                let link = self.link_to_directory();
                format!("COPY {directory} {link}")
            }
            0 => format!("COPY {flags}{directory}/{KEEP} {target}/"),
            1 => format!("COPY {flags}{directory}/{KEEP} {target}/renamed"),
            2 => format!("COPY {flags}{directory} {target}"),
            3 => format!("COPY {flags}{directory}/ {target}/"),
            4 => format!("COPY {flags}top.txt {directory}/{KEEP} {target}/"),
            5 => format!("COPY {flags}{directory}/ke*p top.* {target}/"),
            6 => format!(
                "COPY {flags}[\"top.txt\", \"{directory}/{KEEP}\", \"{target}/spaced out/\"]"
            ),
            7 => format!("COPY . {target}/all"),
            _ => format!("COPY {flags}top.txt relative/{}", self.count),
        };
        self.step(text);
    }

    /// Makes a link to a new directory and returns the link.
    fn link_to_directory(&mut self) -> String {
        let link = self.fresh();
        self.step(format!("RUN mkdir -p /opt/real{link} && ln -s real{link} {link}"));
        link
    }

    fn add(&mut self) {
        let target = self.target();
        let text = match self.random.below(3) {
            0 => format!("ADD plain.tar {target}/"),
            1 => format!("ADD packed.tar.gz {target}/unpacked/"),
            _ => format!("ADD top.txt {target}/added"),
        };
        self.step(text);
    }

    fn copy_from(&mut self) {
        if self.sources.is_empty() {
            return self.copy();
        }
        let stage = *self.random.pick(&self.sources);
        let source = &stage.name;
        let (flags, target) = (self.flags(), self.target());
        let what = self.random.pick(&["{}", "{}/", "{}/taken"]);
        let target = what.replace("{}", &format!("{target}/from-{}", self.count));
        let odd = odd_directory(source);
        if stage.steps.iter().any(|step| step.contains(&odd)) && self.random.once_in(2) {
            self.step(format!("COPY --from={source} {flags}{odd} {target}"));
        } else {
            self.step(format!("COPY --from={source} {flags}/marker-{source} {target}"));
        }
    }

    /// A directory that exists, one that does not, or one behind a link.
    fn target(&mut self) -> String {
        let fresh = self.fresh();
        let existing: &[&str] = match self.root {
            Base::Scratch => &["/new", "/new/er"],
            Base::Stage(_) | Base::Busybox => &["/opt", "/usr/local", "/bin", "/var/run"],
            Base::Crafted => &["/here", "/op", "/shared", "/kept", "/bin/sub"],
        };
        if self.random.once_in(2) { fresh } else { (*self.random.pick(existing)).to_owned() }
    }

    fn some_directory(&mut self) -> Option<String> {
        if self.directories.is_empty() {
            None
        } else {
            Some(self.random.pick(self.directories).clone())
        }
    }

    fn flags(&mut self) -> String {
        let by_number = ["--chown=1000:50 ", "--chown=7 "];
        let by_name = ["--chown=app:staff ", "--chown=web ", "--chown=app:7 "];
        match self.random.below(6) {
            0 => (*self.random.pick(&by_number)).to_owned(),
            1 if *self.root != Base::Scratch => (*self.random.pick(&by_name)).to_owned(),
            2 => "--chmod=0640 ".to_owned(),
            3 => "--chmod=755 --chown=1:1 ".to_owned(),
            _ => String::new(),
        }
    }

    fn configure(&mut self) {
        let number = self.count;
        let texts = [
            format!("ENV SET=value-{number}"),
            format!("ENV SET=\"two words\" OTHER=${{SET:-none}}-{number} 'QUOTED'=a\\ b"),
            "ENV OLD the old form with $SET".to_owned(),
            "ARG FROM_OUTSIDE".to_owned(),
            format!("ARG INSIDE=default-{number}\nENV SET=${{INSIDE}}x${{FROM_OUTSIDE:+yes}}"),
            format!("LABEL number={number} \"spaced key\"=\"$SET\""),
            format!("LABEL multi=\"a\" \\\n      # a comment between\n      line={number}"),
            "EXPOSE 80 53/udp".to_owned(),
            format!("EXPOSE 80{number}/tcp"),
            format!("VOLUME /volume-{number}"),
            format!("VOLUME [\"/volume-{number}\", \"/volume-b\"]"),
            "STOPSIGNAL SIGQUIT".to_owned(),
            "STOPSIGNAL 9".to_owned(),
            "CMD echo $SET".to_owned(),
            "CMD [\"echo\", \"a b\"]".to_owned(),
            "ENTRYPOINT [\"/bin/sh\", \"-c\"]".to_owned(),
            "ENTRYPOINT exec top".to_owned(),
            "HEALTHCHECK --interval=5s --timeout=3s --retries=2 CMD true".to_owned(),
            "HEALTHCHECK NONE".to_owned(),
            format!("ONBUILD ENV TRIGGERED=\"$TRIGGERED {number}\""),
            format!("ONBUILD COPY top.txt /opt/triggered-{number}"),
            "ENV NESTED=${OTHER:-${SET:-deep}} KEPT='$SET' ESCAPED=\"\\$SET\"".to_owned(),
            format!("ENV A=1 B=$A\nENV B=$A C=${{A}}b D=${{A:+{number}}} E=${{NOPE}}-$NOPE"),
            format!(
                "ARG UNSET\nARG CHAINED=${{UNSET:-{number}}}\nLABEL chained=$CHAINED${{UNSET:+no}}"
            ),
            "SHELL [\"/bin/sh\", \"-ec\"]".to_owned(),
            format!("WORKDIR /opt/work-{number}"),
            format!("WORKDIR relative-{number}/deep"),
            // buildah keeps a trailing slash, which an empty value would leave.
            "WORKDIR /opt/${SET:-unset}".to_owned(),
            "MAINTAINER Ada <ada@example.org>".to_owned(),
        ];
        let text = self.random.pick(&texts).clone();
        self.step(text);
        if self.random.once_in(8) && *self.root != Base::Scratch {
            self.step(format!("USER app\nRUN id -u > /tmp/user-{number}\nUSER 0:0"));
        }
        if self.random.once_in(8) && *self.root != Base::Scratch {
            self.step(format!(
                "USER app\nWORKDIR /tmp/home-{number}\nRUN pwd > /tmp/pwd-{number}\nUSER 0:0"
            ));
        }
        if self.random.once_in(12) {
            let user = *self.random.pick(&["1000", "1000:50", "root"]);
            self.step(format!("USER {user}\nUSER root"));
        }
    }
}

/// Where the stage `name` may have a directory with unusual things in it.
fn odd_directory(name: &str) -> String {
    format!("/odd-{name}")
}
