//! Where the bytes of an upload wait until all have come.
use std::{
    fs::File,
    io::{self, Read as _, Seek as _, Write as _},
};

use super::UploadError;
use crate::problem::Problem;

/// How many bytes are held in memory: of many slow uploads at once, each takes no more.
const IN_MEMORY: usize = 128 << 10;

/// Bytes in memory, and beyond [`IN_MEMORY`] in a file that has no name: the system removes it with this value, whatever
/// becomes of the process (LIM-22).
pub(super) struct Spool {
    buffer: Vec<u8>,
    file: Option<File>,
    len: u64,
}

impl Spool {
    pub(super) const fn new() -> Self {
        Self { buffer: Vec::new(), file: None, len: 0 }
    }

    /// How many bytes have come.
    pub(super) const fn len(&self) -> u64 {
        self.len
    }

    /// Takes some more.
    pub(super) async fn write(&mut self, piece: &[u8]) -> Result<(), UploadError> {
        self.buffer.extend_from_slice(piece);
        self.len += piece.len() as u64;
        if self.buffer.len() > IN_MEMORY {
            let (file, mut buffer) = (self.file.take(), std::mem::take(&mut self.buffer));
            let written = tokio::task::spawn_blocking(move || {
                let mut file = file.map_or_else(tempfile::tempfile, Ok)?;
                file.write_all(&buffer)?;
                buffer.clear();
                Ok::<_, io::Error>((file, buffer))
            });
            let (file, buffer) =
                written.await.map_err(io::Error::other).and_then(|done| done).map_err(failed)?;
            (self.file, self.buffer) = (Some(file), buffer);
        }
        Ok(())
    }

    /// All of them. It reads the file, if there is one: not for a thread that answers requests.
    pub(super) fn into_bytes(self) -> Result<Vec<u8>, UploadError> {
        let Some(mut file) = self.file else { return Ok(self.buffer) };
        let mut bytes = Vec::with_capacity(usize::try_from(self.len).unwrap_or(0));
        file.rewind().and_then(|()| file.read_to_end(&mut bytes)).map_err(failed)?;
        bytes.extend_from_slice(&self.buffer);
        Ok(bytes)
    }
}

/// The directory for temporary files is full, or cannot be written.
fn failed(error: io::Error) -> UploadError {
    Problem::unavailable().because(error).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_came_in_is_what_comes_out_in_memory_and_beyond() {
        for pieces in [0, 1, 13, 100] {
            let mut spool = Spool::new();
            let mut expected = Vec::new();
            for number in 0..pieces {
                let piece = vec![u8::try_from(number).unwrap(); 10_001];
                spool.write(&piece).await.unwrap();
                expected.extend_from_slice(&piece);
            }
            assert_eq!(spool.len(), expected.len() as u64);
            assert_eq!(spool.file.is_some(), expected.len() > IN_MEMORY);
            assert!(spool.buffer.len() <= IN_MEMORY);
            assert_eq!(spool.into_bytes().unwrap(), expected);
        }
    }
}
