//! One frame: a tag, a length, a body.

use std::io::{self, Read, Write};

use super::MAX_FRAME;
use super::codec::garbled;

/// What a frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tag {
    /// Builder to init: what to do; the first frame.
    Order = 1,
    /// Init to builder: the user namespace is there, its maps are wanted.
    NeedMap = 2,
    /// Builder to init: the maps are written.
    Mapped = 3,
    /// Builder to init: the maps could not be written.
    NotMapped = 4,
    /// Either way: one entry of a layer.
    Entry = 5,
    /// Either way: a piece of the content of the entry before it.
    Chunk = 6,
    /// Either way: the layer is complete.
    LayerEnd = 7,
    /// Builder to init: end the step.
    Interrupt = 8,
    /// Init to builder: the last frame.
    Reply = 9,
}

impl Tag {
    const ALL: [Self; 9] = [
        Self::Order,
        Self::NeedMap,
        Self::Mapped,
        Self::NotMapped,
        Self::Entry,
        Self::Chunk,
        Self::LayerEnd,
        Self::Interrupt,
        Self::Reply,
    ];

    fn from_byte(byte: u8) -> io::Result<Self> {
        Self::ALL
            .into_iter()
            .find(|tag| *tag as u8 == byte)
            .ok_or_else(|| garbled("unknown kind of frame"))
    }
}

/// Writes one frame.
pub(crate) fn send(to: &mut (impl Write + ?Sized), tag: Tag, body: &[u8]) -> io::Result<()> {
    if body.len() > MAX_FRAME {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            format!("a frame of {} bytes is over the limit of {MAX_FRAME}", body.len()),
        ));
    }
    let length = u32::try_from(body.len()).expect("MAX_FRAME fits 32 bits").to_le_bytes();
    let header = [tag as u8, length[0], length[1], length[2], length[3]];
    to.write_all(&header)?;
    to.write_all(body)
}

/// Reads one frame into `body`; `None` when the other side closed between frames.
pub(crate) fn receive(
    from: &mut (impl Read + ?Sized),
    body: &mut Vec<u8>,
) -> io::Result<Option<Tag>> {
    let mut tag = [0];
    loop {
        match from.read(&mut tag) {
            Ok(0) => return Ok(None),
            Ok(_) => break,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    let tag = Tag::from_byte(tag[0])?;
    let mut length = [0; 4];
    from.read_exact(&mut length)?;
    let length = u32::from_le_bytes(length) as usize;
    if length > MAX_FRAME {
        return Err(garbled("length over the limit"));
    }
    body.clear();
    // Grows with what arrives: a length alone reserves nothing.
    if from.take(length as u64).read_to_end(body)? < length {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(Some(tag))
}
