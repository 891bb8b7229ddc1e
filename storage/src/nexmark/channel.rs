//! Where bids come from: four hot channels, and ten thousand others, each with its page.

use std::ops::Range;

use super::random::{Field, Random, below};
use super::text::Texts;
use super::text::length;

const HOT: [&str; 4] = ["Google", "Facebook", "Baidu", "Apple"];
const OTHERS: u64 = 10_000;

/// One in so many bids comes from a channel that is not hot.
const HOT_RATIO: u64 = 2;

/// Names and pages of all channels, hot ones first, made once.
#[derive(Debug)]
pub(super) struct Channels {
    names: List,
    urls: List,
}

/// Texts one behind the other.
#[derive(Debug, Default)]
struct List {
    bytes: Vec<u8>,
    places: Vec<Range<u32>>,
}

impl List {
    fn push(&mut self, text: &[u8]) {
        let start = self.bytes.len() as u32;
        self.bytes.extend_from_slice(text);
        self.places.push(start..self.bytes.len() as u32);
    }

    #[inline]
    fn get(&self, index: usize) -> &[u8] {
        let place = &self.places[index];
        &self.bytes[place.start as usize..place.end as usize]
    }
}

impl Channels {
    pub(super) fn new(random: &Random) -> Self {
        let (mut names, mut urls) = (List::default(), List::default());
        let mut url = Texts::with_capacity(1, 100);
        for (index, name) in HOT.iter().enumerate() {
            names.push(name.as_bytes());
            urls.push(page(random, OTHERS + index as u64, &mut url));
        }
        for channel in 0..OTHERS {
            names.push(format!("channel-{channel}").as_bytes());
            let page = page(random, channel, &mut url);
            // One in ten has no id in it.
            if below(random.of(channel, Field::HasChannelId) >> 32, 10) == 0 {
                urls.push(page);
                continue;
            }
            // The id is the channel's number with its 32 bits turned around.
            let id = (channel as u32).reverse_bits().cast_signed().unsigned_abs();
            let mut page = page.to_vec();
            page.extend_from_slice(format!("&channel_id={id}").as_bytes());
            urls.push(&page);
        }
        Self { names, urls }
    }

    /// Adds the name of the channel that `bits` decide.
    #[inline]
    pub(super) fn put_name(&self, bits: u64, texts: &mut Texts) {
        texts.put(self.names.get(index(bits)));
    }

    /// Adds the page of the channel that `bits` decide.
    #[inline]
    pub(super) fn put_url(&self, bits: u64, texts: &mut Texts) {
        texts.put(self.urls.get(index(bits)));
    }
}

#[inline]
fn index(bits: u64) -> usize {
    let low = bits & u64::from(u32::MAX);
    match super::is_hot(bits, HOT_RATIO) {
        true => below(low, HOT.len() as u64) as usize,
        false => HOT.len() + below(low, OTHERS) as usize,
    }
}

/// `https://www.nexmark.com/abc/def/ghij/item.htm?query=1`
fn page<'a>(random: &Random, channel: u64, out: &'a mut Texts) -> &'a [u8] {
    out.clear();
    out.put(b"https://www.nexmark.com/");
    for field in [Field::UrlFirst, Field::UrlSecond, Field::UrlThird] {
        let bits = random.of(channel, field);
        out.put_words(bits, length(bits, 5), b'_');
        out.put(b"/");
    }
    out.put(b"item.htm?query=1");
    out.written()
}
