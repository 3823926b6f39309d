//! `--compression` and `--compression-level`.

use std::ops::RangeInclusive;

use crate::failure::Failure;
use crate::layer::Compression;

/// What both doors offer; levels above 19 make zstd frames that decoders may refuse.
const GZIP_LEVELS: RangeInclusive<i32> = 0..=9;
const ZSTD_LEVELS: RangeInclusive<i32> = 1..=19;

/// What the two flags mean together; the level of the algorithm's own without one.
pub(super) fn compression(algorithm: &str, level: Option<i32>) -> Result<Compression, Failure> {
    match algorithm {
        "gzip" => match level {
            None => Ok(Compression::GZIP),
            Some(level) => {
                check(algorithm, level, &GZIP_LEVELS)?;
                Ok(Compression::Gzip { level: level.unsigned_abs() })
            }
        },
        "zstd" => match level {
            None => Ok(Compression::ZSTD),
            Some(level) => {
                check(algorithm, level, &ZSTD_LEVELS)?;
                Ok(Compression::Zstd { level })
            }
        },
        "none" if level.is_none() => Ok(Compression::None),
        "none" => Err(Failure::usage("--compression none has no --compression-level")),
        _ => {
            Err(Failure::usage(format!("--compression {algorithm:?} is none of gzip, zstd, none")))
        }
    }
}

/// As kaniko: there is no `none`, and -1 stands for the level of the algorithm's own.
pub(super) fn of_executor(algorithm: &str, level: i32) -> Result<Compression, Failure> {
    if algorithm == "none" {
        return Err(Failure::usage("--compression \"none\" is none of gzip, zstd"));
    }
    compression(algorithm, Some(level).filter(|&level| level != -1))
}

fn check(algorithm: &str, level: i32, levels: &RangeInclusive<i32>) -> Result<(), Failure> {
    if levels.contains(&level) {
        return Ok(());
    }
    let (least, most) = (levels.start(), levels.end());
    Err(Failure::usage(format!(
        "--compression-level {level} is no level of {algorithm}: those are {least} to {most}"
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_belong_to_their_algorithm() {
        for (algorithm, level, expected) in [
            ("gzip", None, Ok(Compression::default())),
            ("gzip", Some(0), Ok(Compression::Gzip { level: 0 })),
            ("gzip", Some(9), Ok(Compression::Gzip { level: 9 })),
            ("gzip", Some(10), Err("level 10 is no level of gzip: those are 0 to 9")),
            ("gzip", Some(-1), Err("level -1 is no level of gzip: those are 0 to 9")),
            ("zstd", None, Ok(Compression::ZSTD)),
            ("zstd", Some(19), Ok(Compression::Zstd { level: 19 })),
            ("zstd", Some(0), Err("level 0 is no level of zstd: those are 1 to 19")),
            ("zstd", Some(20), Err("level 20 is no level of zstd: those are 1 to 19")),
            ("none", None, Ok(Compression::None)),
            ("none", Some(1), Err("--compression none has no --compression-level")),
            ("xz", None, Err("\"xz\" is none of gzip, zstd, none")),
        ] {
            match (compression(algorithm, level), expected) {
                (Ok(found), Ok(expected)) => assert_eq!(found, expected),
                (Err(found), Err(part)) => {
                    assert!(found.message().contains(part), "{}", found.message());
                }
                (found, _) => panic!("{algorithm} {level:?}: {found:?}"),
            }
        }
    }

    #[test]
    fn the_executor_takes_kanikos_default_level() {
        assert_eq!(of_executor("gzip", -1).unwrap(), Compression::GZIP);
        assert_eq!(of_executor("zstd", -1).unwrap(), Compression::ZSTD);
        assert_eq!(of_executor("zstd", 9).unwrap(), Compression::Zstd { level: 9 });
        assert!(of_executor("none", -1).is_err() && of_executor("gzip", -2).is_err());
    }
}
