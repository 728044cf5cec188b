//! Files of every kind, whole and broken, as tests upload them.
use std::io::Cursor;

use bailiwick::{
    secret::Secret,
    upload::{FileStore, S3},
};
use image::{DynamicImage, Frame, ImageFormat, RgbImage, Rgba, RgbaImage, codecs::gif::GifEncoder};

const BOUNDARY: &str = "----WebKitFormBoundary7MA4YWxkTrZu0gW";

/// A form with one file, as a browser sends it: its content type, and the body.
pub(crate) fn form(name: &str, declared: Option<&str>, content: &[u8]) -> (String, Vec<u8>) {
    let declared = declared.map_or_else(String::new, |declared| format!("Content-Type: {declared}\r\n"));
    let name = name.replace('"', "\\\"");
    let head = format!(
        "--{BOUNDARY}\r\nContent-Disposition: form-data; name=\"file\"; filename=\"{name}\"\r\n{declared}\r\n"
    );
    let end = format!("\r\n--{BOUNDARY}--\r\n");
    (format!("multipart/form-data; boundary={BOUNDARY}"), [head.as_bytes(), content, end.as_bytes()].concat())
}

/// What a client declares a file of this name to be.
pub(crate) fn declared(name: &str) -> Option<&'static str> {
    Some(match name.rsplit('.').next()? {
        "png" => "image/png",
        "jpg" => "image/jpeg",
        "gif" => "image/gif",
        "webp" => "image/webp",
        "pdf" => "application/pdf",
        "txt" => "text/plain",
        "csv" => "text/csv",
        _ => return None,
    })
}

/// A picture in the format that `extension` names.
pub(crate) fn image(extension: &str, width: u32, height: u32) -> Vec<u8> {
    let pixels = RgbImage::from_fn(width, height, |x, y| {
        let [x, y] = [x, y].map(|at| u8::try_from(at * 17 % 256).unwrap());
        image::Rgb([x, y, x ^ y])
    });
    let mut bytes = Cursor::new(Vec::new());
    let format = ImageFormat::from_extension(extension).unwrap();
    DynamicImage::ImageRgb8(pixels).write_to(&mut bytes, format).unwrap();
    bytes.into_inner()
}

/// An animation of so many frames, each redder than the one before.
pub(crate) fn animation(width: u32, height: u32, frames: u8) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut encoder = GifEncoder::new(&mut bytes);
    encoder.set_repeat(image::codecs::gif::Repeat::Infinite).unwrap();
    for number in 0..frames {
        let pixels = RgbaImage::from_pixel(width, height, Rgba([number * 40, 0, 0, 255]));
        let delay = image::Delay::from_numer_denom_ms(70, 1);
        encoder.encode_frame(Frame::from_parts(pixels, 0, 0, delay)).unwrap();
    }
    drop(encoder);
    bytes
}

/// The same JPEG with what a camera writes into it: how it was held, and where.
pub(crate) fn with_gps(jpeg: &[u8], orientation: u8) -> Vec<u8> {
    let mut tiff = b"MM\0\x2a\0\0\0\x08".to_vec();
    tiff.extend(b"\0\x02");
    tiff.extend([0x01, 0x12, 0, 3, 0, 0, 0, 1, 0, orientation, 0, 0]);
    // The GPS directory, behind this one: an area by its name.
    tiff.extend([0x88, 0x25, 0, 4, 0, 0, 0, 1, 0, 0, 0, 38]);
    tiff.extend([0; 4]);
    tiff.extend([0, 1, 0, 0x1c, 0, 7, 0, 0, 0, 10, 0, 0, 0, 56, 0, 0, 0, 0]);
    tiff.extend(b"GPS-SECRET");
    let exif = [&b"Exif\0\0"[..], &tiff].concat();
    let length = u16::try_from(exif.len() + 2).unwrap().to_be_bytes();
    [&jpeg[..2], &[0xff, 0xe1], &length, &exif, &jpeg[2..]].concat()
}

/// The same PNG with a text in it.
pub(crate) fn with_text_chunk(png: &[u8]) -> Vec<u8> {
    let head = 8 + 25;
    [&png[..head], &chunk(b"tEXt", b"Comment\0GPS-SECRET"), &png[head..]].concat()
}

/// A PNG of 1 KiB that says it is so large, and has the pixels of nothing.
pub(crate) fn png_that_claims(width: u32, height: u32) -> Vec<u8> {
    let header = [&width.to_be_bytes()[..], &height.to_be_bytes(), &[8, 2, 0, 0, 0]].concat();
    // Deflated nothing.
    let pixels = [0x78, 0x9c, 0x03, 0, 0, 0, 0, 1];
    let so_far = 8 + 25 + 12 + pixels.len() + 12;
    let padding = [&b"Comment\0"[..], &vec![b'x'; 1024 - so_far - 12 - 8]].concat();
    [
        b"\x89PNG\r\n\x1a\n".to_vec(),
        chunk(b"IHDR", &header),
        chunk(b"tEXt", &padding),
        chunk(b"IDAT", &pixels),
        chunk(b"IEND", b""),
    ]
    .concat()
}

fn chunk(kind: &[u8; 4], content: &[u8]) -> Vec<u8> {
    let length = u32::try_from(content.len()).unwrap().to_be_bytes();
    let checked = [&kind[..], content].concat();
    [&length[..], &checked, &crc32fast::hash(&checked).to_be_bytes()].concat()
}

/// The file that every scanner takes for a virus. In two parts, so that none takes this one for it.
pub(crate) fn eicar() -> Vec<u8> {
    let parts = [r"X5O!P%@AP[4\PZX54(P^)7CC)7}$EICAR-STANDARD-", "ANTIVIRUS-TEST-FILE!$H+H*"];
    parts.concat().into_bytes()
}

/// The files of a test on the S3 server that tests may use.
pub(crate) fn s3(endpoint: &str, prefix: &str) -> FileStore {
    FileStore::s3(S3 {
        endpoint: Some(endpoint.to_owned()),
        region: "us-east-1".to_owned(),
        bucket: "bailiwick-test".to_owned(),
        prefix: prefix.to_owned(),
        credentials: Some(("test".to_owned(), Secret::new("test".to_owned()))),
    })
    .unwrap()
}
