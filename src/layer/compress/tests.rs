//! Same bytes for any number of threads, and readable by everybody.

use std::io::{Read, Write};

use proptest::prelude::*;

use super::*;
use crate::hashing::sha256;

/// Bytes that are partly compressible, the same every time.
fn sample(length: usize) -> Vec<u8> {
    let mut state = 1_u32;
    let noise = std::iter::repeat_with(move || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24).to_le_bytes()[0]
    });
    noise
        .enumerate()
        .map(|(at, byte)| if at / 100 % 3 == 0 { byte } else { byte & 7 })
        .take(length)
        .collect()
}

fn compress(compression: Compression, threads: usize, bytes: &[u8], chunk: usize) -> Vec<u8> {
    let mut compressor = Compressor::new(compression, threads, Vec::new()).unwrap();
    for part in bytes.chunks(chunk) {
        compressor.write_all(part).unwrap();
    }
    compressor.finish().unwrap()
}

fn decompress(bytes: &[u8], sniff: Sniff) -> std::io::Result<Vec<u8>> {
    let mut all = Vec::new();
    decoder(bytes, sniff).unwrap().read_to_end(&mut all)?;
    Ok(all)
}

const EACH: [Compression; 5] = [
    Compression::Gzip { level: 0 },
    Compression::Gzip { level: 1 },
    Compression::Gzip { level: 6 },
    Compression::Zstd { level: 3 },
    Compression::None,
];

/// Bytes that nothing compresses, the same every time.
fn noise(length: usize) -> Vec<u8> {
    let mut state = 1_u64;
    let noise = std::iter::repeat_with(move || {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 56).to_le_bytes()[0]
    });
    noise.take(length).collect()
}

/// Compresses in several ways that must not matter.
fn check_same_bytes(compression: Compression, bytes: &[u8]) {
    let one = compress(compression, 1, bytes, GZIP_BLOCK);
    assert!(decompress(&one, Sniff::Layer).unwrap() == bytes, "{compression:?} {}", bytes.len());
    for (threads, chunk) in [(2, 512), (3, 65_536), (7, 1_000_003)] {
        let more = compress(compression, threads, bytes, chunk);
        assert!(one == more, "{compression:?} {} with {threads} threads", bytes.len());
    }
}

#[test]
fn the_bytes_do_not_depend_on_threads_or_write_sizes() {
    for compression in EACH {
        for length in [0, 1, GZIP_BLOCK + 1] {
            check_same_bytes(compression, &sample(length));
        }
    }
    // Long enough for every thread to have several blocks. The fastest level once showed that a
    // compressor which is reset remembers earlier blocks.
    check_same_bytes(Compression::Gzip { level: 1 }, &sample(5 * GZIP_BLOCK + 4711));
    check_same_bytes(Compression::default(), &sample(GZIP_BLOCK));
    check_same_bytes(Compression::Zstd { level: 3 }, &sample(5 * GZIP_BLOCK));
}

#[test]
fn golden_digests_of_the_encoders() {
    // A change here needs another ENCODER_VERSION.
    let bytes = sample(2 * GZIP_BLOCK + 100);
    let probed = [noise(GZIP_BLOCK), sample(GZIP_BLOCK), noise(100)].concat();
    let compressed = compress(Compression::Gzip { level: 2 }, 2, &probed, 8192);
    let golden = "28e38de66e9aa0458acef438a3c330951643adc743b7ce6967ebc6d2d41e56f1";
    assert_eq!(sha256(&compressed).hex(), golden);
    for (compression, golden) in [
        (
            Compression::Gzip { level: 1 },
            "138655a18fa3b514ffc67e7e01f28c53a4ba66e1ca8a4d47cfad94a3b09ddd13",
        ),
        (
            Compression::Gzip { level: 2 },
            "03f1162be794b21b723f8e315d5b99140b2a0e8f05938240f4c6446a1c33866d",
        ),
        (
            Compression::Gzip { level: 6 },
            "8e5e287d906004ab3c92a47ede60fdf9960193c9610bd8fe90b3984fa3fca41e",
        ),
        (
            Compression::Gzip { level: 9 },
            "b49ae19f75db830a15dc03da1929f3f1c954338b4bda670aa1bd2f27ff4fff4a",
        ),
        (
            Compression::Zstd { level: 3 },
            "c7984574c8a90fae9d897b024af8b4ee9e5fab6afd0d62496a5887714bf2f531",
        ),
    ] {
        let compressed = compress(compression, 2, &bytes, 8192);
        assert_eq!(sha256(&compressed).hex(), golden, "{compression:?}");
    }
    assert_eq!(ENCODER_VERSION, 2);
}

#[test]
fn noise_is_stored_and_so_never_grows() {
    // Behind noise comes text, and behind text noise: the dictionary reaches over what is stored.
    let mixed = [noise(2 * GZIP_BLOCK + 10), b"text ".repeat(GZIP_BLOCK / 2), noise(GZIP_BLOCK)];
    check_same_bytes(Compression::Gzip { level: 6 }, &mixed.concat());
    for length in [1, 100, 65_535, 65_536, GZIP_BLOCK, 3 * GZIP_BLOCK + 1] {
        let bytes = noise(length);
        // Ten bytes of header, eight of trailer, five for each stored block of at most 65,535.
        let blocks =
            bytes.chunks(GZIP_BLOCK).map(|block| block.len().div_ceil(65_535)).sum::<usize>();
        for level in 0..=9 {
            let compressed = compress(Compression::Gzip { level }, 2, &bytes, 8192);
            let most = length + 18 + 5 * blocks;
            assert!(compressed.len() <= most, "{length} at level {level}: {}", compressed.len());
            assert!(decompress(&compressed, Sniff::Layer).unwrap() == bytes, "{length} {level}");
        }
    }
}

#[test]
fn what_looks_like_noise_but_repeats_is_compressed() {
    let repeated = noise(16_384).repeat(2 * GZIP_BLOCK / 16_384);
    let compressed = compress(Compression::Gzip { level: 2 }, 2, &repeated, 8192);
    assert!(compressed.len() < 3 * 16_384, "{}", compressed.len());
    // Every byte value as often as any other, but in a row.
    let rows: Vec<u8> = (0..GZIP_BLOCK).map(|at| (at / 4).to_le_bytes()[0]).collect();
    let compressed = compress(Compression::Gzip { level: 2 }, 2, &rows, 8192);
    assert!(compressed.len() < GZIP_BLOCK / 20, "{}", compressed.len());
}

#[test]
fn gzip_has_a_constant_header_and_one_member() {
    let compressed = compress(Compression::Gzip { level: 2 }, 2, &sample(2 << 20), 8192);
    assert_eq!(compressed[..10], [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255]);
    let mut plain = Vec::new();
    // This decoder stops after the first member.
    flate2::read::GzDecoder::new(compressed.as_slice()).read_to_end(&mut plain).unwrap();
    assert_eq!(plain.len(), 2 << 20);
}

#[test]
#[expect(clippy::disallowed_methods, reason = "this test compares with another program")]
fn gnu_gzip_accepts_what_was_written() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("sample.gz");
    let compressed = compress(Compression::default(), 2, &sample(GZIP_BLOCK + 5), 8192);
    fs_err::write(&path, compressed).unwrap();
    match std::process::Command::new("gzip").arg("-t").arg(&path).output() {
        Ok(output) => assert!(output.status.success() && output.stderr.is_empty(), "{output:?}"),
        Err(error) => println!("skipped: gzip cannot be run: {error}"),
    }
}

#[test]
fn the_dictionary_reaches_over_blocks() {
    let noise: Vec<u8> = sample(4 * 16_384).chunks(4).map(|four| four[0]).collect();
    let repeated = noise.repeat(2 * GZIP_BLOCK / noise.len());
    let compressed = compress(Compression::Gzip { level: 6 }, 2, &repeated, 8192);
    assert!(compressed.len() < 3 * noise.len(), "{}", compressed.len());
}

#[test]
fn several_members_and_frames_are_one_content() {
    for compression in [Compression::Gzip { level: 6 }, Compression::Zstd { level: 3 }] {
        let mut both = compress(compression, 1, b"first ", 100);
        both.extend(compress(compression, 1, b"second", 100));
        assert_eq!(decompress(&both, Sniff::Layer).unwrap(), b"first second");
    }
}

#[test]
fn archives_may_be_bzip2_and_xz() {
    let mut bzip2 = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::fast());
    bzip2.write_all(b"content").unwrap();
    let mut xz = liblzma::write::XzEncoder::new(Vec::new(), 1);
    xz.write_all(b"content").unwrap();
    for compressed in [bzip2.finish().unwrap(), xz.finish().unwrap()] {
        assert_eq!(decompress(&compressed, Sniff::Archive).unwrap(), b"content");
        assert_eq!(decompress(&compressed, Sniff::Layer).unwrap(), compressed);
    }
}

#[test]
fn damaged_content_is_an_error() {
    for compression in [Compression::Gzip { level: 6 }, Compression::Zstd { level: 3 }] {
        let whole = compress(compression, 1, &sample(100_000), 8192);
        assert!(decompress(&whole[..whole.len() - 1], Sniff::Layer).is_err(), "{compression:?}");
    }
    let mut damaged = compress(Compression::Gzip { level: 6 }, 1, &sample(100_000), 8192);
    let last = damaged.len() - 6;
    damaged[last] ^= 1;
    assert!(decompress(&damaged, Sniff::Layer).is_err(), "the CRC counts");
}

#[test]
fn unknown_levels_are_refused() {
    for compression in [Compression::Gzip { level: 10 }, Compression::Zstd { level: 99 }] {
        assert!(Compressor::new(compression, 1, Vec::new()).is_err(), "{compression:?}");
    }
}

/// Takes some bytes, then fails as a full disk does.
struct Full(usize);

impl Write for Full {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        if self.0 == 0 {
            return Err(std::io::Error::new(std::io::ErrorKind::StorageFull, "no space left"));
        }
        let taken = bytes.len().min(self.0);
        self.0 -= taken;
        Ok(taken)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_failing_output_is_reported_and_does_not_hang() {
    let bytes = sample(4 * GZIP_BLOCK);
    for compression in EACH {
        for room in [0, 100_000] {
            let failed = Compressor::new(compression, 3, Full(room)).and_then(|mut compressor| {
                compressor.write_all(&bytes)?;
                compressor.finish().map(|_| ())
            });
            let kind = failed.unwrap_err().kind();
            assert_eq!(kind, std::io::ErrorKind::StorageFull, "{compression:?} {room}");
        }
    }
}

#[test]
fn a_dropped_compressor_ends_its_threads() {
    let mut compressor = Compressor::new(Compression::default(), 2, Vec::new()).unwrap();
    compressor.write_all(&sample(3 * GZIP_BLOCK)).unwrap();
    drop(compressor);
}

#[test]
fn a_frame_with_a_larger_window_than_any_level_has_is_refused() {
    // RFC 8878, 3.1.1.1: magic, descriptor, window of 2^28 bytes, an empty last raw block.
    let frame = [0x28, 0xb5, 0x2f, 0xfd, 0, 18 << 3, 1, 0, 0];
    assert!(decompress(&frame, Sniff::Layer).is_err());
    let frame = [0x28, 0xb5, 0x2f, 0xfd, 0, 17 << 3, 1, 0, 0];
    assert_eq!(decompress(&frame, Sniff::Layer).unwrap(), b"");
}

#[test]
fn many_empty_members_are_no_depth() {
    let empty = compress(Compression::GZIP, 1, b"", 1);
    let mut members = empty.repeat(50_000);
    members.extend(compress(Compression::GZIP, 1, b"last", 4));
    assert_eq!(decompress(&members, Sniff::Layer).unwrap(), b"last");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn garbage_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..300), magic in 0_usize..5) {
        let magics: [&[u8]; 5] =
            [b"", b"\x1f\x8b\x08", b"\x28\xb5\x2f\xfd", b"\xfd7zXZ\0", b"BZh9"];
        let all = [magics[magic], &bytes].concat();
        let mut some = Vec::new();
        let _ = decoder(all.as_slice(), Sniff::Archive).unwrap().take(1 << 20).read_to_end(&mut some);
    }
}
