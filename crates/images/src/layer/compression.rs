//! Recognizing compressed streams by their first bytes.
use std::io::{self, BufRead, BufReader, Cursor, Read, Seek, Write};

/// The stream as it was before compression: gzip, zstd, bzip2, xz, or as it is.
pub fn decompress<'r>(mut stream: impl Read + Send + 'r) -> io::Result<Box<dyn Read + Send + 'r>> {
    let mut start = Vec::with_capacity(6);
    stream.by_ref().take(6).read_to_end(&mut start)?;
    let stream = BufReader::with_capacity(128 << 10, Cursor::new(start.clone()).chain(stream));
    Ok(match start.as_slice() {
        [0x1f, 0x8b, ..] => Box::new(flate2::bufread::MultiGzDecoder::new(stream)),
        [0x28, 0xb5, 0x2f, 0xfd, ..] => Box::new(zstd::stream::read::Decoder::with_buffer(stream)?),
        [b'B', b'Z', b'h', ..] => Box::new(bzip2::bufread::MultiBzDecoder::new(stream)),
        [0xfd, b'7', b'z', b'X', b'Z', 0] => Box::new(xz(stream)?),
        _ => Box::new(stream),
    })
}

/// The xz decoder at hand writes instead of being read; such archives are rare and small here (ADD of a source tarball), so a temporary
/// file takes the content.
fn xz(mut stream: impl BufRead) -> io::Result<impl Read> {
    let mut out = io::BufWriter::new(tempfile::tempfile()?);
    lzma_rs::xz_decompress(&mut stream, &mut out)
        .map_err(|e| io::Error::new(io::ErrorKind::InvalidData, format!("xz: {e:?}")))?;
    out.flush()?;
    let mut file = out.into_inner().map_err(io::IntoInnerError::into_error)?;
    file.rewind()?;
    Ok(BufReader::new(file))
}
