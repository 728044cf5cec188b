//! Images: looked at from outside first, then decoded whole, and encoded anew (LIM-13, LIM-14).
//!
//! What is kept is made of pixels alone. Metadata, such as where a photo was taken, text and colour profiles do not survive,
//! nor does whatever else was hidden between the pixels; the orientation that metadata ask for is put into the pixels first.
//! An image is kept in the format that it came in: JPEG at quality 90, WebP without loss, GIF with all its frames.
use std::io::Cursor;

use image::{
    AnimationDecoder as _, DynamicImage, ImageDecoder, ImageError, ImageFormat, ImageReader, Limits,
    codecs::{gif::GifDecoder, jpeg::JpegEncoder, png::PngEncoder, webp::WebPEncoder},
    metadata::LoopCount,
};

use super::Rejection;

/// How wide and how high an image may be: what JPEG and GIF can say.
const MAX_SIDE: u32 = 65_535;
/// The quality of a JPEG, of 100.
const JPEG_QUALITY: u8 = 90;
/// How fast the colours of a GIF are chosen that has more than 256 of them: 1 is best, 30 is fastest.
const GIF_SPEED: i32 = 10;
/// What a pixel takes at most once it is decoded: 8 bits for each of four channels. An image with 16 bits a channel may have half
/// as many pixels.
const BYTES_A_PIXEL: u64 = 4;

/// An image as it is kept.
pub(super) struct Encoded {
    pub(super) bytes: Vec<u8>,
    pub(super) width: u32,
    pub(super) height: u32,
}

/// Decodes an image of at most `max_pixels`, and encodes it anew.
pub(super) fn reencoded(format: ImageFormat, sent: &[u8], max_pixels: u64) -> Result<Encoded, Rejection> {
    let Outline { end, animated, frames } = Outline::of(format, sent).ok_or(Rejection::Damaged)?;
    if end != sent.len() {
        return Err(Rejection::TrailingData);
    }
    if animated {
        return Err(Rejection::Animated);
    }
    if format == ImageFormat::Gif {
        animation(sent, frames, max_pixels)
    } else {
        still(format, sent, max_pixels)
    }
}

fn limits(max_pixels: u64) -> Limits {
    let mut limits = Limits::default();
    limits.max_image_width = Some(MAX_SIDE);
    limits.max_image_height = Some(MAX_SIDE);
    // Twice, since some decoders have the pixels in two forms, and a little more for what they need besides.
    limits.max_alloc = Some(max_pixels.saturating_mul(2 * BYTES_A_PIXEL).saturating_add(16 << 20));
    limits
}

/// The dimensions that the header claims, before anything is decoded: not every decoder keeps to its limits.
fn checked(decoder: &impl ImageDecoder, max_pixels: u64) -> Result<(u32, u32), Rejection> {
    let (width, height) = decoder.dimensions();
    if width == 0 || height == 0 {
        return Err(Rejection::Damaged);
    }
    let pixels = u64::from(width) * u64::from(height);
    let bytes = max_pixels.saturating_mul(BYTES_A_PIXEL);
    let fits = width.max(height) <= MAX_SIDE && pixels <= max_pixels && decoder.total_bytes() <= bytes;
    if fits { Ok((width, height)) } else { Err(Rejection::Pixels) }
}

fn still(format: ImageFormat, sent: &[u8], max_pixels: u64) -> Result<Encoded, Rejection> {
    let mut reader = ImageReader::with_format(Cursor::new(sent), format);
    reader.limits(limits(max_pixels));
    let mut decoder = reader.into_decoder().map_err(rejection)?;
    checked(&decoder, max_pixels)?;
    // An image whose metadata cannot be read is still an image.
    let orientation = decoder.orientation().unwrap_or(image::metadata::Orientation::NoTransforms);
    let mut pixels = DynamicImage::from_decoder(decoder).map_err(rejection)?;
    pixels.apply_orientation(orientation);
    let (width, height) = (pixels.width(), pixels.height());
    let mut bytes = Vec::new();
    let encoded = match format {
        ImageFormat::Jpeg => {
            let pixels = match pixels {
                DynamicImage::ImageLuma8(_) => pixels,
                other => DynamicImage::ImageRgb8(other.into_rgb8()),
            };
            pixels.write_with_encoder(JpegEncoder::new_with_quality(&mut bytes, JPEG_QUALITY))
        }
        ImageFormat::WebP => pixels.write_with_encoder(WebPEncoder::new_lossless(&mut bytes)),
        _ => pixels.write_with_encoder(PngEncoder::new(&mut bytes)),
    };
    encoded.map_err(rejection)?;
    Ok(Encoded { bytes, width, height })
}

/// Frame by frame, so that the memory is that of one.
fn animation(sent: &[u8], frames: u64, max_pixels: u64) -> Result<Encoded, Rejection> {
    let mut decoder = GifDecoder::new(Cursor::new(sent)).map_err(rejection)?;
    decoder.set_limits(limits(max_pixels)).map_err(rejection)?;
    let (width, height) = checked(&decoder, max_pixels)?;
    // A few bytes can hold thousands of them, each as large as the whole.
    if (u64::from(width) * u64::from(height)).saturating_mul(frames) > max_pixels {
        return Err(Rejection::Pixels);
    }
    let (Ok(short_width), Ok(short_height)) = (u16::try_from(width), u16::try_from(height)) else {
        return Err(Rejection::Pixels);
    };
    let repeat = match decoder.loop_count() {
        LoopCount::Infinite => gif::Repeat::Infinite,
        LoopCount::Finite(times) => gif::Repeat::Finite(u16::try_from(times.get()).unwrap_or(u16::MAX)),
    };
    let mut bytes = Vec::new();
    let mut encoder =
        gif::Encoder::new(&mut bytes, short_width, short_height, &[]).map_err(|_| Rejection::Damaged)?;
    let mut kept = 0;
    for (number, frame) in decoder.into_frames().enumerate() {
        let frame = frame.map_err(rejection)?;
        kept += 1;
        if number == 1 {
            encoder.set_repeat(repeat).map_err(|_| Rejection::Damaged)?;
        }
        let (numerator, denominator) = frame.delay().numer_denom_ms();
        let mut pixels = frame.into_buffer();
        let mut frame = gif::Frame::from_rgba_speed(short_width, short_height, &mut pixels, GIF_SPEED);
        let hundredths = numerator / denominator.max(1) / 10;
        frame.delay = u16::try_from(hundredths).unwrap_or(u16::MAX);
        // Each frame is whole: where it is clear, the one before must not shine through.
        frame.dispose = gif::DisposalMethod::Background;
        encoder.write_frame(&frame).map_err(|_| Rejection::Damaged)?;
    }
    drop(encoder);
    if kept == 0 || kept > frames {
        return Err(Rejection::Damaged);
    }
    Ok(Encoded { bytes, width, height })
}

#[expect(clippy::needless_pass_by_value, reason = "a function for map_err")]
fn rejection(error: ImageError) -> Rejection {
    match error {
        ImageError::Limits(_) => Rejection::Pixels,
        _ => Rejection::Damaged,
    }
}

/// How an image looks from outside, without decoding any of it.
#[derive(Debug, PartialEq, Eq)]
struct Outline {
    /// Where its format says that it ends.
    end: usize,
    /// Whether it is an animation in a format of which only stills are encoded.
    animated: bool,
    /// How many frames it has, in a format of which all are encoded; else one.
    frames: u64,
}

impl Outline {
    /// None if the bytes end before the image does.
    fn of(format: ImageFormat, bytes: &[u8]) -> Option<Self> {
        match format {
            ImageFormat::Png => png_outline(bytes),
            ImageFormat::Jpeg => jpeg_end(bytes).map(|end| Self { end, animated: false, frames: 1 }),
            ImageFormat::Gif => gif_outline(bytes),
            ImageFormat::WebP => webp_outline(bytes),
            _ => None,
        }
    }
}

/// PNG §5.3: chunks up to `IEND`.
fn png_outline(bytes: &[u8]) -> Option<Outline> {
    let mut at: usize = 8;
    let mut animated = false;
    loop {
        let head = bytes.get(at..at.checked_add(8)?)?;
        let length = u32::from_be_bytes([head[0], head[1], head[2], head[3]]);
        let kind = &head[4..8];
        // Its length, its kind and its checksum besides.
        at = at.checked_add(12)?.checked_add(usize::try_from(length).ok()?)?;
        animated |= kind == b"acTL";
        if kind == b"IEND" {
            return (at <= bytes.len()).then_some(Outline { end: at, animated, frames: 1 });
        }
    }
}

/// ITU T.81 §B.1: segments, and after each `SOS` what is between two markers, up to `EOI`.
fn jpeg_end(bytes: &[u8]) -> Option<usize> {
    let mut at = 2;
    loop {
        if *bytes.get(at)? != 0xff {
            return None;
        }
        // A marker may be preceded by any number of these.
        while *bytes.get(at)? == 0xff {
            at += 1;
        }
        let marker = bytes[at];
        at += 1;
        match marker {
            0xd9 => return Some(at),
            0x01 | 0xd0..=0xd7 => {}
            0x00 | 0xd8 => return None,
            _ => {
                let length = bytes.get(at..at + 2)?;
                let length = usize::from(u16::from_be_bytes([length[0], length[1]]));
                if length < 2 {
                    return None;
                }
                at += length;
                if marker == 0xda {
                    at = end_of_scan(bytes, at)?;
                }
            }
        }
    }
}

/// The next marker that is neither a stuffed byte nor a restart.
fn end_of_scan(bytes: &[u8], mut at: usize) -> Option<usize> {
    loop {
        at += memchr::memchr(0xff, bytes.get(at..)?)?;
        match bytes.get(at + 1)? {
            0x00 | 0xd0..=0xd7 => at += 2,
            0xff => at += 1,
            _ => return Some(at),
        }
    }
}

/// GIF89a: blocks up to the trailer.
fn gif_outline(bytes: &[u8]) -> Option<Outline> {
    let colours = |flags: u8| if flags & 0x80 == 0 { 0 } else { 3 << ((flags & 7) + 1) };
    let mut at = 13 + colours(*bytes.get(10)?);
    let mut frames = 0;
    loop {
        match *bytes.get(at)? {
            0x3b => return Some(Outline { end: at + 1, animated: false, frames }),
            0x21 => at = end_of_blocks(bytes, at + 2)?,
            // The descriptor, the colours of the frame, and the size of its codes.
            0x2c => {
                frames += 1;
                at = end_of_blocks(bytes, at + 10 + colours(*bytes.get(at + 9)?) + 1)?;
            }
            _ => return None,
        }
    }
}

fn end_of_blocks(bytes: &[u8], mut at: usize) -> Option<usize> {
    loop {
        let length = usize::from(*bytes.get(at)?);
        at += 1 + length;
        if length == 0 {
            return Some(at);
        }
    }
}

/// RFC 9649 §2.3: one `RIFF` chunk, in which chunks of even length follow each other.
fn webp_outline(bytes: &[u8]) -> Option<Outline> {
    let length = |at: usize| {
        let length = bytes.get(at..at.checked_add(4)?)?;
        let length = u32::from_le_bytes([length[0], length[1], length[2], length[3]]);
        usize::try_from(length).ok().and_then(|length| length.checked_add(length & 1))
    };
    let end = length(4)?.checked_add(8).filter(|end| *end <= bytes.len())?;
    let mut at = 12;
    let mut animated = false;
    while at < end {
        animated |= bytes.get(at..at + 4)? == b"ANIM";
        at = length(at + 4)?.checked_add(at + 8)?;
    }
    (at == end).then_some(Outline { end, animated, frames: 1 })
}

#[cfg(test)]
mod tests {
    use image::{DynamicImage, RgbImage};
    use proptest::prelude::*;

    use super::*;

    const FORMATS: [ImageFormat; 4] =
        [ImageFormat::Png, ImageFormat::Jpeg, ImageFormat::Gif, ImageFormat::WebP];

    fn picture(format: ImageFormat) -> Vec<u8> {
        let pixels = RgbImage::from_fn(9, 7, |x, y| {
            let [x, y] = [x, y].map(|at| u8::try_from(at * 29 % 256).unwrap());
            image::Rgb([x, y, x ^ y])
        });
        let mut bytes = Cursor::new(Vec::new());
        DynamicImage::ImageRgb8(pixels).write_to(&mut bytes, format).unwrap();
        bytes.into_inner()
    }

    // LIM-15
    #[test]
    fn an_image_is_whole_or_refused_and_ends_where_it_ends() {
        for format in FORMATS {
            let sent = picture(format);
            let kept = reencoded(format, &sent, 63).unwrap();
            assert_eq!((kept.width, kept.height), (9, 7));
            assert!(reencoded(format, &kept.bytes, 63).is_ok(), "{format:?} is what it was");
            for length in 0..sent.len() {
                let cut = reencoded(format, &sent[..length], 63);
                assert_eq!(cut.err(), Some(Rejection::Damaged), "{format:?}, {length} of {}", sent.len());
            }
            let longer = [&sent[..], b"x"].concat();
            assert_eq!(reencoded(format, &longer, 63).err(), Some(Rejection::TrailingData), "{format:?}");
            // LIM-13
            assert_eq!(reencoded(format, &sent, 62).err(), Some(Rejection::Pixels), "{format:?}");
        }
    }

    // LIM-13: what a decoder would have to hold is known from outside.
    #[test]
    fn an_image_of_more_bytes_than_its_pixels_may_have_is_refused() {
        let mut deep = Cursor::new(Vec::new());
        DynamicImage::new_rgba16(9, 7).write_to(&mut deep, ImageFormat::Png).unwrap();
        let deep = deep.into_inner();
        assert_eq!(reencoded(ImageFormat::Png, &deep, 125).err(), Some(Rejection::Pixels));
        assert!(reencoded(ImageFormat::Png, &deep, 126).is_ok());
    }

    // LIM-13
    #[test]
    fn frames_are_counted_before_any_is_decoded() {
        let one = picture(ImageFormat::Gif);
        let outline = gif_outline(&one).unwrap();
        assert_eq!((outline.end, outline.frames), (one.len(), 1));
        // The second has no pixels that could be decoded: they are not looked at.
        let frame = [&[0x2c, 0, 0, 0, 0, 1, 0, 1, 0, 0, 2][..], &[1, 0xff, 0]].concat();
        let two = [&one[..one.len() - 1], &frame, &[0x3b]].concat();
        assert_eq!(gif_outline(&two).unwrap().frames, 2);
        assert_eq!(reencoded(ImageFormat::Gif, &two, 125).err(), Some(Rejection::Pixels));
        assert_eq!(reencoded(ImageFormat::Gif, &two, 126).err(), Some(Rejection::Damaged));
    }

    #[test]
    fn animations_that_cannot_be_kept_are_refused() {
        let png = picture(ImageFormat::Png);
        let control = [&8_u32.to_be_bytes()[..], b"acTL", &[0; 8], &[0; 4]].concat();
        let animated = [&png[..33], &control, &png[33..]].concat();
        assert_eq!(reencoded(ImageFormat::Png, &animated, 63).err(), Some(Rejection::Animated));
        let mut webp = picture(ImageFormat::WebP);
        webp.extend(b"ANIM\x06\0\0\0\0\0\0\0\0\0");
        let length = u32::try_from(webp.len() - 8).unwrap();
        webp[4..8].copy_from_slice(&length.to_le_bytes());
        assert_eq!(reencoded(ImageFormat::WebP, &webp, 63).err(), Some(Rejection::Animated));
    }

    proptest! {
        // Whatever was done to an image, it is refused or it is one.
        #[test]
        fn a_spoiled_image_is_refused_or_kept_as_an_image(
            which in 0_usize..4,
            flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        ) {
            let format = FORMATS[which];
            let mut sent = picture(format);
            for (at, byte) in flips {
                let at = at.index(sent.len());
                sent[at] = byte;
            }
            if let Ok(kept) = reencoded(format, &sent, 10_000) {
                let decoded = image::load_from_memory_with_format(&kept.bytes, format).unwrap();
                prop_assert_eq!((decoded.width(), decoded.height()), (kept.width, kept.height));
            }
        }
    }
}
