//! The tar format, both ways: lenient in nothing.
//!
//! In scope: writing members in our one form; reading members that others wrote, with GNU and PAX
//! long names.
//! Out of scope: what names are accepted and whether members fit together (see
//! [`receive`](super::receive())).
//! Invariant: a reader yields plain files, directories and symbolic links only; anything it does
//! not fully understand is an error, so two readings of the same bytes can't differ.
//! Specification: POSIX.1-2024 `pax` (ustar and extended headers), GNU tar manual (`L` and `K`).

use std::io::{self, Read, Write};

use tar::{EntryType, Header, PaxExtensions};

use super::error::InputError;

const BLOCK: usize = 512;
/// Extended headers beyond this are refused; names are at most 4095 bytes.
const MAX_EXTENDED: u64 = 16 * 1024;
/// Zeros after the end that are still padding.
const MAX_PADDING: u64 = 1 << 20;

/// What a member is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Kind {
    File { size: u64, executable: bool },
    Dir,
    Symlink { target: String },
}

/// A member with its name as written, except for a leading `./` and a directory's trailing `/`.
#[derive(Debug)]
pub(super) struct Member {
    pub(super) path: String,
    pub(super) kind: Kind,
}

/// Reads members one after another.
pub(super) struct Reader<R> {
    inner: R,
    content_left: u64,
    padding_left: u64,
}

/// Names and targets that extended headers gave for the next member.
#[derive(Default)]
struct Extended {
    path: Option<Vec<u8>>,
    target: Option<Vec<u8>>,
}

impl<R: Read> Reader<R> {
    pub(super) fn new(inner: R) -> Self {
        Self {
            inner,
            content_left: 0,
            padding_left: 0,
        }
    }

    /// The next member; nothing at a proper end. Content that was not read is skipped.
    pub(super) fn next(&mut self) -> Result<Option<Member>, InputError> {
        self.skip_to_header()?;
        let mut extended = Extended::default();
        loop {
            let block = self.read_block()?;
            if block.iter().all(|byte| *byte == 0) {
                if extended.path.is_some() || extended.target.is_some() {
                    return Err(InputError::archive("it ends after a long name"));
                }
                self.read_end()?;
                return Ok(None);
            }
            let header = Header::from_byte_slice(&block);
            check_sum(header, &block)?;
            let size = header
                .entry_size()
                .map_err(|_| InputError::archive("a size is not a number"))?;
            match header.entry_type() {
                EntryType::GNULongName => {
                    let name = self.read_extended(size)?;
                    extended.set_path(trim_nul(name))?;
                }
                EntryType::GNULongLink => {
                    let name = self.read_extended(size)?;
                    extended.set_target(trim_nul(name))?;
                }
                EntryType::XHeader => {
                    let records = self.read_extended(size)?;
                    extended.read_pax(&records)?;
                }
                _ => return self.member(header, size, extended).map(Some),
            }
        }
    }

    /// The content of the member that [`next`](Self::next) returned last.
    pub(super) fn content(&mut self) -> Content<'_, R> {
        Content(self)
    }

    fn member(
        &mut self,
        header: &Header,
        size: u64,
        extended: Extended,
    ) -> Result<Member, InputError> {
        let path = extended
            .path
            .unwrap_or_else(|| header.path_bytes().into_owned());
        let path = String::from_utf8(path).map_err(|error| {
            InputError::path(
                &String::from_utf8_lossy(error.as_bytes()),
                "the name is not UTF-8",
            )
        })?;
        let path = path.strip_prefix("./").unwrap_or(&path).to_owned();
        let mode = header
            .mode()
            .map_err(|_| InputError::archive("a mode is not a number"))?;
        let entry_type = header.entry_type();
        if size > 0 && !entry_type.is_file() {
            return Err(InputError::archive(
                "a member that is not a plain file has content",
            ));
        }
        let kind = match entry_type {
            EntryType::Regular if mode & 0o6000 != 0 => {
                return Err(InputError::kind(&path, "file with setuid or setgid rights"));
            }
            EntryType::Regular => Kind::File {
                size,
                executable: mode & 0o100 != 0,
            },
            EntryType::Directory => Kind::Dir,
            EntryType::Symlink => {
                let target = extended
                    .target
                    .or_else(|| header.link_name_bytes().map(std::borrow::Cow::into_owned))
                    .unwrap_or_default();
                let target = String::from_utf8(target).map_err(|error| {
                    let shown = String::from_utf8_lossy(error.as_bytes());
                    InputError::link(&path, &shown, "its target is not UTF-8")
                })?;
                Kind::Symlink { target }
            }
            other => return Err(InputError::kind(&path, name_of(other))),
        };
        self.content_left = size;
        self.padding_left = padding(size);
        let path = match kind {
            Kind::Dir => path.strip_suffix('/').unwrap_or(&path).to_owned(),
            _ => path,
        };
        Ok(Member { path, kind })
    }

    fn read_block(&mut self) -> Result<[u8; BLOCK], InputError> {
        let mut block = [0; BLOCK];
        self.inner.read_exact(&mut block).map_err(cut_short)?;
        Ok(block)
    }

    fn read_extended(&mut self, size: u64) -> Result<Vec<u8>, InputError> {
        if size > MAX_EXTENDED {
            return Err(InputError::archive(
                "an extended header is larger than 16 KiB",
            ));
        }
        self.content_left = size;
        self.padding_left = padding(size);
        let mut bytes = Vec::new();
        self.content().read_to_end(&mut bytes).map_err(cut_short)?;
        self.skip_to_header()?;
        Ok(bytes)
    }

    fn skip_to_header(&mut self) -> Result<(), InputError> {
        let left = self.content_left.saturating_add(self.padding_left);
        let skipped =
            io::copy(&mut (&mut self.inner).take(left), &mut io::sink()).map_err(cut_short)?;
        (self.content_left, self.padding_left) = (0, 0);
        if skipped < left {
            Err(cut_short(io::ErrorKind::UnexpectedEof.into()))
        } else {
            Ok(())
        }
    }

    /// After the first block of zeros: one more, then only padding.
    fn read_end(&mut self) -> Result<(), InputError> {
        let mut rest = Vec::new();
        (&mut self.inner)
            .take(MAX_PADDING + 1)
            .read_to_end(&mut rest)
            .map_err(cut_short)?;
        if rest.len() < BLOCK {
            return Err(cut_short(io::ErrorKind::UnexpectedEof.into()));
        }
        if rest.iter().any(|byte| *byte != 0)
            || u64::try_from(rest.len()).is_ok_and(|n| n > MAX_PADDING)
        {
            return Err(InputError::archive("something follows its end"));
        }
        Ok(())
    }
}

/// The unread content of one member; ends early only with an error.
pub(super) struct Content<'a, R>(&'a mut Reader<R>);

impl<R: Read> Read for Content<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let wanted = self
            .0
            .content_left
            .min(u64::try_from(buffer.len()).unwrap_or(u64::MAX));
        let read = (&mut self.0.inner).take(wanted).read(buffer)?;
        if read == 0 && wanted > 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.0.content_left = self
            .0
            .content_left
            .saturating_sub(u64::try_from(read).unwrap_or(u64::MAX));
        Ok(read)
    }
}

impl Extended {
    fn set_path(&mut self, path: Vec<u8>) -> Result<(), InputError> {
        match self.path.replace(path) {
            None => Ok(()),
            Some(_) => Err(InputError::archive("a member has two long names")),
        }
    }

    fn set_target(&mut self, target: Vec<u8>) -> Result<(), InputError> {
        match self.target.replace(target) {
            None => Ok(()),
            Some(_) => Err(InputError::archive("a member has two long link targets")),
        }
    }

    fn read_pax(&mut self, records: &[u8]) -> Result<(), InputError> {
        for record in PaxExtensions::new(records) {
            let record =
                record.map_err(|_| InputError::archive("an extended header is malformed"))?;
            match record.key().unwrap_or("(not UTF-8)") {
                "path" => self.set_path(record.value_bytes().to_vec())?,
                "linkpath" => self.set_target(record.value_bytes().to_vec())?,
                // What we don't keep anyway can't change what we read.
                "mtime" | "atime" | "ctime" | "uid" | "gid" | "uname" | "gname" => {}
                key => {
                    let key = crate::quote::reveal(key);
                    return Err(InputError::archive(format!(
                        "the extended header `{key}` is not accepted"
                    )));
                }
            }
        }
        Ok(())
    }
}

/// Writes the header of a member in our one form; a file's content and [`write_padding`] follow.
pub(super) fn write_header(to: &mut impl Write, path: &str, kind: &Kind) -> io::Result<()> {
    let mut header = Header::new_gnu();
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    let (entry_type, mode, size, target) = match kind {
        Kind::File { size, executable } => (
            EntryType::Regular,
            if *executable { 0o755 } else { 0o644 },
            *size,
            "",
        ),
        Kind::Dir => (EntryType::Directory, 0o755, 0, ""),
        Kind::Symlink { target } => (EntryType::Symlink, 0o777, 0, target.as_str()),
    };
    header.set_entry_type(entry_type);
    header.set_mode(mode);
    header.set_size(size);
    if let Some(fields) = header.as_gnu_mut() {
        if !fill(&mut fields.name, path) {
            write_long(to, EntryType::GNULongName, path)?;
        }
        if !fill(&mut fields.linkname, target) {
            write_long(to, EntryType::GNULongLink, target)?;
        }
    }
    header.set_cksum();
    to.write_all(header.as_bytes())
}

/// Fills the last block of a file of `size` bytes.
pub(super) fn write_padding(to: &mut impl Write, size: u64) -> io::Result<()> {
    io::copy(&mut io::repeat(0).take(padding(size)), to).map(|_| ())
}

/// Writes the end of the archive.
pub(super) fn write_end(to: &mut impl Write) -> io::Result<()> {
    to.write_all(&[0; 2 * BLOCK])
}

fn write_long(to: &mut impl Write, entry_type: EntryType, text: &str) -> io::Result<()> {
    let size = u64::try_from(text.len())
        .unwrap_or(u64::MAX)
        .saturating_add(1);
    let mut header = Header::new_gnu();
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_mode(0o644);
    header.set_entry_type(entry_type);
    header.set_size(size);
    if let Some(fields) = header.as_gnu_mut() {
        fill(&mut fields.name, "././@LongLink");
    }
    header.set_cksum();
    to.write_all(header.as_bytes())?;
    to.write_all(text.as_bytes())?;
    to.write_all(&[0])?;
    write_padding(to, size)
}

/// Puts as much of `text` into `field` as fits; says whether that was all.
fn fill(field: &mut [u8], text: &str) -> bool {
    for (to, from) in field.iter_mut().zip(text.bytes()) {
        *to = from;
    }
    text.len() <= field.len()
}

fn padding(size: u64) -> u64 {
    size.wrapping_neg() % 512
}

fn trim_nul(mut name: Vec<u8>) -> Vec<u8> {
    if name.last() == Some(&0) {
        name.pop();
    }
    name
}

fn check_sum(header: &Header, block: &[u8; BLOCK]) -> Result<(), InputError> {
    let sum: u32 = block
        .iter()
        .enumerate()
        // The checksum counts its own field as spaces.
        .map(|(at, byte)| {
            if (148..156).contains(&at) {
                32
            } else {
                u32::from(*byte)
            }
        })
        .sum();
    if header.cksum().is_ok_and(|written| written == sum) {
        Ok(())
    } else {
        Err(InputError::archive(
            "it is not a tar archive, or a header is damaged",
        ))
    }
}

fn cut_short(error: io::Error) -> InputError {
    if error.kind() == io::ErrorKind::UnexpectedEof {
        InputError::archive("it ends in the middle")
    } else {
        InputError::io("read", "the archive")(error)
    }
}

fn name_of(entry_type: EntryType) -> String {
    match entry_type {
        EntryType::Link => "hard link".to_owned(),
        EntryType::Char | EntryType::Block => "device".to_owned(),
        EntryType::Fifo => "named pipe".to_owned(),
        EntryType::GNUSparse => "sparse file".to_owned(),
        EntryType::Continuous => "contiguous file".to_owned(),
        EntryType::XGlobalHeader => "global extended header".to_owned(),
        other => format!("member of the unknown type {:#04x}", other.as_byte()),
    }
}
