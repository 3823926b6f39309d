//! What each encoder and level costs and gains, on the workloads that images are made of.
//!
//! The tar of a workload is written once; then every encoder reads it from the file (and so from
//! the page cache) and writes into nothing. Seconds of processors are those of this process, or
//! pigz's own.

use std::io::{self, Read as _, Write};
use std::path::{Path, PathBuf};
use std::time::Instant;

use longshore::layer::{Compression, Compressor, TarWriter, path_order};
use longshore_runtime::entry::{Entry, EntrySink as _, Kind};

use crate::cases::Place;
use crate::measure::{Cost, measure};

/// Threads of every encoder.
const THREADS: usize = 2;
/// The cheapest of so many runs counts.
const RUNS: usize = 3;
/// How much of /usr is taken.
const DEBIAN_MOST: u64 = 200_000_000;

const ENCODERS: &[(&str, Compression)] = &[
    ("none", Compression::None),
    ("zlib-rs 1", Compression::Gzip { level: 1 }),
    ("zlib-rs 2", Compression::Gzip { level: 2 }),
    ("zlib-rs 3", Compression::Gzip { level: 3 }),
    ("zlib-rs 6", Compression::Gzip { level: 6 }),
    ("zlib-rs 9", Compression::Gzip { level: 9 }),
    ("zstd 1", Compression::Zstd { level: 1 }),
    ("zstd 3", Compression::Zstd { level: 3 }),
    ("zstd 6", Compression::Zstd { level: 6 }),
];

/// The table of encoders and levels.
pub(crate) fn levels(place: &Place<'_>) {
    println!(
        "| workload | encoder   | CPU s |  wall | MB/CPU s | output MB | ratio |\n\
         |----------|-----------|------:|------:|---------:|----------:|------:|"
    );
    let copy = place.directory.join("copy.tar");
    write_copy(&copy);
    compare("copy", &copy);
    let noise = place.directory.join("noise.tar");
    write_noise(&noise);
    compare("noise", &noise);
    if Path::new("/usr/share/doc").exists() {
        let debian = place.directory.join("debian.tar");
        write_debian(&debian);
        compare("debian", &debian);
    }
}

fn compare(workload: &str, tar: &Path) {
    let size = fs_err::metadata(tar).expect("the tar was written").len();
    for (name, compression) in ENCODERS {
        let runs = (0..RUNS).map(|_| encode(tar, *compression));
        row(workload, name, size, cheapest(runs));
    }
    if !Path::new("/usr/bin/pigz").exists() {
        return;
    }
    for level in ["-1", "-2", "-6"] {
        let runs = (0..RUNS).map(|_| pigz(tar, level));
        row(workload, &format!("pigz {level}"), size, cheapest(runs));
    }
}

fn cheapest(runs: impl Iterator<Item = (Cost, u64)>) -> (Cost, u64) {
    runs.min_by(|a, b| a.0.cpu.total_cmp(&b.0.cpu)).expect("there are several runs")
}

fn row(workload: &str, encoder: &str, size: u64, (cost, output): (Cost, u64)) {
    println!(
        "| {workload:<8} | {encoder:<9} | {:>5.2} | {:>5.2} | {:>8.0} | {:>9.1} | {:>5.3} |",
        cost.cpu,
        cost.wall,
        size as f64 / 1e6 / cost.cpu,
        output as f64 / 1e6,
        output as f64 / size as f64,
    );
}

fn encode(tar: &Path, compression: Compression) -> (Cost, u64) {
    let mut input = fs_err::File::open(tar).expect("the tar was written");
    let (start, before) = (Instant::now(), own_cpu());
    let compressor = Compressor::new(compression, THREADS, Count(0));
    let mut compressor = compressor.expect("the levels exist");
    let mut buffer = vec![0; 1 << 16];
    loop {
        let read = input.read(&mut buffer).expect("the tar can be read");
        if read == 0 {
            break;
        }
        compressor.write_all(&buffer[..read]).expect("nothing fails");
    }
    let output = compressor.finish().expect("nothing fails").0;
    let wall = start.elapsed().as_secs_f64();
    (Cost { wall, cpu: own_cpu() - before, rss: 0 }, output)
}

fn pigz(tar: &Path, level: &str) -> (Cost, u64) {
    let place = tar.parent().expect("a file has a directory");
    let path = tar.to_str().expect("temporary paths are text");
    let cost = measure(place, &["pigz", "-p2", "-k", "-f", level, path]);
    let size = fs_err::metadata(tar.with_extension("tar.gz")).expect("pigz has written").len();
    (cost, size)
}

/// Seconds that this process and its threads, ended ones included, have used.
fn own_cpu() -> f64 {
    // Hundredths of a second, on every Linux.
    let stat = fs_err::read_to_string("/proc/self/stat").expect("proc is mounted");
    let (_, fields) = stat.rsplit_once(')').expect("the name ends");
    let fields: Vec<&str> = fields.split_whitespace().collect();
    let ticks: f64 = fields[11..13].iter().filter_map(|field| field.parse::<f64>().ok()).sum();
    ticks / 100.0
}

/// Counts bytes.
struct Count(u64);

impl Write for Count {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// 20,000 files in 200 directories, some 330 MB: two of three are text, the third is noise.
fn write_copy(path: &Path) {
    let file = fs_err::File::create(path).expect("the place is writable");
    let mut tar = TarWriter::new(io::BufWriter::new(file));
    let mut random = Random(1);
    let words = vocabulary(&mut random);
    let mut content = Vec::new();
    for number in 0..20_000_u64 {
        let size = (256 << random.below(9)) + random.below(3800);
        content.clear();
        match number % 3 {
            0 => content.extend(std::iter::repeat_with(|| random.next() as u8).take(size)),
            _ => text(&mut random, &words, size, &mut content),
        }
        let name = format!("src/{:03}/file{number:05}.rs", number / 100);
        put(&mut tar, &name, &content);
    }
    tar.finish().expect("the disk has room");
}

/// Files that are compressed already.
fn write_noise(path: &Path) {
    let file = fs_err::File::create(path).expect("the place is writable");
    let mut tar = TarWriter::new(io::BufWriter::new(file));
    let mut random = Random(2);
    for number in 0..10 {
        let noise: Vec<u8> = std::iter::repeat_with(|| random.next().to_le_bytes())
            .take(1_250_000)
            .flatten()
            .collect();
        put(&mut tar, &format!("archive{number}.zip"), &noise);
    }
    tar.finish().expect("the disk has room");
}

/// The beginning of the machine's own /usr, if it is a Debian's.
fn write_debian(path: &Path) {
    let file = fs_err::File::create(path).expect("the place is writable");
    let mut tar = TarWriter::new(io::BufWriter::new(file));
    let mut left = DEBIAN_MOST;
    for file in debian_files() {
        let Ok(content) = fs_err::read(Path::new("/").join(&file)) else { continue };
        if content.len() as u64 > left {
            continue;
        }
        left -= content.len() as u64;
        put(&mut tar, file.to_str().expect("Debian's names are text"), &content);
    }
    tar.finish().expect("the disk has room");
}

/// One of every few regular files of /usr, in the canonical order, none of them very large.
fn debian_files() -> Vec<PathBuf> {
    let walk = walkdir::WalkDir::new("/usr").into_iter().filter_map(Result::ok);
    let files = walk.filter(|entry| entry.file_type().is_file());
    let small = files.filter(|entry| entry.metadata().is_ok_and(|meta| meta.len() < 20_000_000));
    let named = small.filter(|entry| entry.path().to_str().is_some());
    let relative = |entry: walkdir::DirEntry| entry.path().strip_prefix("/").map(PathBuf::from);
    let mut files: Vec<PathBuf> = named.filter_map(|entry| relative(entry).ok()).collect();
    let bytes = |path: &PathBuf| path.as_os_str().as_encoded_bytes().to_vec();
    files.sort_by(|a, b| path_order(&bytes(a), &bytes(b)));
    files
}

fn put<W: Write>(tar: &mut TarWriter<W>, name: &str, content: &[u8]) {
    let entry = Entry::new(name, Kind::File { size: content.len() as u64 }, 0o644, 1_700_000_000);
    tar.entry(&entry, &mut &content[..]).expect("the disk has room");
}

/// Words as programs have them: a few are everywhere, most are rare.
fn vocabulary(random: &mut Random) -> Vec<String> {
    let word = |random: &mut Random| -> String {
        let length = 2 + random.below(9);
        (0..length).map(|_| char::from(b'a' + random.below(26) as u8)).collect()
    };
    (0..6000).map(|_| word(random)).collect()
}

fn text(random: &mut Random, words: &[String], size: usize, out: &mut Vec<u8>) {
    const MARKS: &[&str] = &[" ", " ", " ", "_", ".", "(", ");\n    ", " = ", ";\n    ", "\n"];
    let start = out.len();
    while out.len() < start + size {
        // Programs repeat themselves.
        let written = out.len() - start;
        if written > 200 && random.below(12) == 0 {
            let from = start + random.below(written - 120);
            out.extend_from_within(from..from + 20 + random.below(80));
            continue;
        }
        // The product of two evenly spread numbers prefers small ones.
        let at = random.below(words.len()) * random.below(words.len()) / words.len();
        out.extend_from_slice(words[at].as_bytes());
        out.extend_from_slice(MARKS[random.below(MARKS.len())].as_bytes());
    }
    out.truncate(start + size);
}

/// A xorshift generator: fast, and the same everywhere.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        // The highest bits of the product are the best ones.
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d).rotate_left(32)
    }

    fn below(&mut self, end: usize) -> usize {
        (self.next() % end as u64) as usize
    }
}
