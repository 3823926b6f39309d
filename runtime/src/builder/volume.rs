//! What is known of a file system by its type, before anything is tried in it.

use std::path::Path;

use rustix::fs::statfs;

/// Types that take no upper directory of an overlay: another overlay, and those without
/// `RENAME_WHITEOUT`, device nodes or attributes (Documentation/filesystems/overlayfs.rst, "Upper
/// and Lower"). The numbers are those of statfs(2).
const UNFIT: [u64; 8] = [
    0x794c_7630, // overlay
    0x6969,      // NFS
    0xfe53_4d42, // SMB
    0xff53_4d42, // CIFS
    0x0102_1997, // 9p
    0x6573_5546, // FUSE
    0x4d44,      // FAT
    0x5346_544e, // NTFS
];

/// Tells whether the file system that holds `path`, or will when it is made, may take the upper
/// directory of an overlay. Costs one or a few calls; whether it does take one is found out by
/// [`crate::probe`].
pub fn may_hold_upper(path: &Path) -> bool {
    let found = path.ancestors().find_map(|place| statfs(place).ok());
    found.is_none_or(|found| is_fit(u64::try_from(found.f_type).unwrap_or(0)))
}

fn is_fit(kind: u64) -> bool {
    // Some architectures have 32 bits, and extend their sign.
    !UNFIT.contains(&(kind & 0xffff_ffff))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn overlays_and_network_file_systems_are_unfit() {
        for (kind, expected) in [
            (0xef53, true),       // ext
            (0x5846_5342, true),  // XFS
            (0x0102_1994, true),  // tmpfs
            (0x9123_683e, true),  // btrfs
            (0x794c_7630, false), // overlay
            (0xff53_4d42, false), // CIFS
            (0xffff_ffff_ff53_4d42, false),
        ] {
            assert_eq!(is_fit(kind), expected, "{kind:x}");
        }
    }

    #[test]
    fn what_is_not_there_yet_is_judged_by_what_will_hold_it() {
        let directory = tempfile::tempdir().unwrap();
        let below = directory.path().join("not/there/yet");
        assert_eq!(may_hold_upper(&below), may_hold_upper(directory.path()));
        assert!(!Path::new("/proc").exists() || may_hold_upper(Path::new("/dev/shm")));
    }
}
