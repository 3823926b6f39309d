//! An assembler for the filters of seccomp(2): classic BPF with labels instead of distances.
//!
//! Only what the filters here need: loads from `struct seccomp_data`, two comparisons, returns. A
//! filter looks at numbers only; what an argument points to is out of its reach.

use std::mem::offset_of;

/// The architecture that this program is built for, as `AUDIT_ARCH_*` of <linux/audit.h>.
#[cfg(target_arch = "x86_64")]
pub(super) const NATIVE_ARCH: u32 = 0xC000_003E;
/// The architecture that this program is built for, as `AUDIT_ARCH_*` of <linux/audit.h>.
#[cfg(target_arch = "aarch64")]
pub(super) const NATIVE_ARCH: u32 = 0xC000_00B7;

const LOAD: u32 = libc::BPF_LD | libc::BPF_W | libc::BPF_ABS;
const EQUAL: u32 = libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K;
const ANY_BIT: u32 = libc::BPF_JMP | libc::BPF_JSET | libc::BPF_K;
const RETURN: u32 = libc::BPF_RET | libc::BPF_K;

/// A field of `struct seccomp_data`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Field {
    /// The architecture of the call.
    Arch,
    /// Its number.
    Number,
    /// The lower half of an argument: all of an `int`.
    Argument(u8),
}

impl Field {
    fn offset(self) -> u32 {
        let offset = match self {
            Self::Arch => offset_of!(libc::seccomp_data, arch),
            Self::Number => offset_of!(libc::seccomp_data, nr),
            // Both architectures have the lower half first.
            Self::Argument(at) => offset_of!(libc::seccomp_data, args) + 8 * usize::from(at),
        };
        u32::try_from(offset).expect("the structure is small")
    }
}

/// A place further down in the program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Label(usize);

/// A program that is being written.
#[derive(Debug, Default)]
pub(super) struct Assembler {
    code: Vec<libc::sock_filter>,
    /// Jump, and whether it is taken when the comparison holds.
    jumps: Vec<(usize, bool, Label)>,
    /// Where each label is, once that is known.
    places: Vec<Option<usize>>,
}

impl Assembler {
    /// Makes a label, to be put somewhere below.
    pub(super) fn label(&mut self) -> Label {
        self.places.push(None);
        Label(self.places.len() - 1)
    }

    /// Puts `label` before the next instruction.
    pub(super) fn place(&mut self, label: Label) {
        self.places[label.0] = Some(self.code.len());
    }

    /// Loads a field for the comparisons that follow.
    pub(super) fn load(&mut self, field: Field) {
        self.push(LOAD, field.offset());
    }

    /// Goes to `label` when the loaded field is `value`.
    pub(super) fn if_equal(&mut self, value: u32, label: Label) {
        self.jumps.push((self.code.len(), true, label));
        self.push(EQUAL, value);
    }

    /// Goes to `label` when the loaded field is not `value`.
    pub(super) fn unless_equal(&mut self, value: u32, label: Label) {
        self.jumps.push((self.code.len(), false, label));
        self.push(EQUAL, value);
    }

    /// Goes to `label` when the loaded field has any bit of `mask`.
    pub(super) fn if_any_bit(&mut self, mask: u32, label: Label) {
        self.jumps.push((self.code.len(), true, label));
        self.push(ANY_BIT, mask);
    }

    /// Ends the filter with `verdict`, one of `SECCOMP_RET_*`.
    pub(super) fn give(&mut self, verdict: u32) {
        self.push(RETURN, verdict);
    }

    /// Returns the program. Labels must be placed, below and within 255 instructions of their use:
    /// all programs are made from tables of this crate.
    pub(super) fn finish(mut self) -> Vec<libc::sock_filter> {
        for (from, when, label) in self.jumps {
            let to = self.places[label.0].expect("every label is placed");
            let distance = u8::try_from(to - from - 1).expect("programs are short");
            let instruction = &mut self.code[from];
            *(if when { &mut instruction.jt } else { &mut instruction.jf }) = distance;
        }
        self.code
    }

    fn push(&mut self, code: u32, k: u32) {
        let code = u16::try_from(code).expect("codes have 16 bits");
        self.code.push(libc::sock_filter { code, jt: 0, jf: 0, k });
    }
}

/// Runs programs as the kernel does.
#[cfg(test)]
pub(super) mod interpreter {
    use super::*;

    /// A call as a filter sees it.
    #[derive(Clone, Copy, Debug)]
    pub(crate) struct Call {
        pub(crate) arch: u32,
        pub(crate) number: u32,
        pub(crate) arguments: [u64; 6],
    }

    impl Call {
        fn word(&self, offset: u32) -> u32 {
            match offset {
                0 => self.number,
                4 => self.arch,
                16.. => {
                    let argument = self.arguments[(offset as usize - 16) / 8];
                    (argument >> (8 * (offset % 8))) as u32
                }
                _ => panic!("nothing loads offset {offset}"),
            }
        }
    }

    /// The verdict of `program` on `call`.
    pub(crate) fn verdict(program: &[libc::sock_filter], call: &Call) -> u32 {
        let (mut at, mut loaded) = (0, 0);
        loop {
            let instruction = program[at];
            at += 1;
            let holds = match u32::from(instruction.code) {
                LOAD => {
                    loaded = call.word(instruction.k);
                    continue;
                }
                EQUAL => loaded == instruction.k,
                ANY_BIT => loaded & instruction.k != 0,
                RETURN => return instruction.k,
                other => panic!("unknown instruction {other}"),
            };
            at += usize::from(if holds { instruction.jt } else { instruction.jf });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::interpreter::{Call, verdict};
    use super::*;

    #[test]
    fn jumps_go_where_their_labels_are() {
        let mut program = Assembler::default();
        let (seven, set, other) = (program.label(), program.label(), program.label());
        program.load(Field::Arch);
        program.unless_equal(NATIVE_ARCH, other);
        program.load(Field::Number);
        program.if_equal(7, seven);
        program.load(Field::Argument(2));
        program.if_any_bit(0x30, set);
        program.give(1);
        program.place(set);
        program.give(2);
        program.place(seven);
        program.give(3);
        program.place(other);
        program.give(4);
        let program = program.finish();
        for (arch, number, argument, expected) in [
            (NATIVE_ARCH, 1, 0x0f, 1),
            (NATIVE_ARCH, 1, 0x1f, 2),
            (NATIVE_ARCH, 1, 0x20, 2),
            (NATIVE_ARCH, 1, 0x20_0000_0000, 1),
            (NATIVE_ARCH, 7, 0x20, 3),
            (0x4000_0003, 7, 0, 4),
        ] {
            let arguments = [0, 0, argument, 0, 0, 0];
            assert_eq!(verdict(&program, &Call { arch, number, arguments }), expected);
        }
    }
}
