//! Where a node stands on the earth, as its registry's metadata says: `country` (ISO 3166-1 alpha-2) and `location`
//! (latitude and longitude in degrees, WGS 84).
//!
//! It is the operator's word, like a region: good for choosing, no proof.

use std::{collections::BTreeMap, fmt, str::FromStr};

/// Metadata key of the country.
pub const COUNTRY_KEY: &str = "country";
/// Metadata key of the location.
pub const LOCATION_KEY: &str = "location";
/// Mean radius of the earth in kilometres (IUGG).
const EARTH_RADIUS_KM: f64 = 6371.0088;

/// A point on the earth.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Location {
    /// Degrees north, -90 to 90.
    latitude: f64,
    /// Degrees east, -180 to 180.
    longitude: f64,
}

/// A point, and how far from it is still near.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Around {
    /// The point.
    pub center: Location,
    /// In kilometres, along the surface.
    pub radius_km: f64,
}

impl Location {
    /// Distance along the surface in kilometres, by the haversine formula: half a percent off at most, since the earth is no
    /// sphere.
    pub fn distance_km(&self, other: &Self) -> f64 {
        let (from, to) = (self.latitude.to_radians(), other.latitude.to_radians());
        let half = |angle: f64| (angle / 2.0).sin().powi(2);
        let east = half((other.longitude - self.longitude).to_radians());
        let chord = half(to - from) + from.cos() * to.cos() * east;
        2.0 * EARTH_RADIUS_KM * chord.sqrt().min(1.0).asin()
    }

    /// What a node's metadata says; `None` where it says nothing that can be read.
    pub fn of_meta(meta: &BTreeMap<String, String>) -> Option<Self> {
        meta.get(LOCATION_KEY)?.parse().ok()
    }
}

impl FromStr for Location {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || {
            format!(
                "{text:?} is no location such as 52.52,13.40: degrees north from -90 to 90, then degrees east from -180 to 180"
            )
        };
        let (latitude, longitude) = text.split_once(',').ok_or_else(wrong)?;
        let degrees = |text: &str, most: f64| {
            text.trim().parse::<f64>().ok().filter(|degrees| (-most..=most).contains(degrees))
        };
        let (latitude, longitude) =
            degrees(latitude, 90.0).zip(degrees(longitude, 180.0)).ok_or_else(wrong)?;
        Ok(Self { latitude, longitude })
    }
}

impl fmt::Display for Location {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{},{}", self.latitude, self.longitude)
    }
}

/// A distance on the command line in kilometres: `500`, `500km` or `300mi`.
pub fn parse_distance(text: &str) -> Result<f64, String> {
    const KM_PER_MILE: f64 = 1.609_344;
    let (number, unit) = match text.strip_suffix("mi") {
        Some(number) => (number, KM_PER_MILE),
        None => (text.strip_suffix("km").unwrap_or(text), 1.0),
    };
    let parsed = number.trim().parse::<f64>().ok().map(|number| number * unit);
    parsed
        .filter(|km| km.is_finite() && *km > 0.0)
        .ok_or_else(|| format!("{text:?} is no distance such as 500km or 300mi"))
}

/// A country on the command line: two letters, in capitals as ISO 3166-1 writes them.
pub fn parse_country(text: &str) -> Result<String, String> {
    if text.len() == 2 && text.bytes().all(|byte| byte.is_ascii_alphabetic()) {
        return Ok(text.to_ascii_uppercase());
    }
    Err(format!("{text:?} is no country code of two letters such as DE (ISO 3166-1)"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Location {
        text.parse().expect("a location")
    }

    /// Published examples: Land's End to John o' Groats 968.9 km (Movable Type Scripts, 6371 km), and Nashville to Los
    /// Angeles 2887.26 km (Rosetta Code, 6372.8 km).
    #[test]
    fn distances_are_the_published_ones() {
        let scaled = |km: f64, radius: f64| km * radius / EARTH_RADIUS_KM;
        let britain = at("50.066389,-5.714722").distance_km(&at("58.643889,-3.07"));
        assert!((scaled(britain, 6371.0) - 968.9).abs() < 0.05, "{britain}");
        let states = at("36.12,-86.67").distance_km(&at("33.94,-118.40"));
        assert!((scaled(states, 6372.8) - 2887.26).abs() < 0.005, "{states}");
    }

    #[test]
    fn the_date_line_and_the_poles_are_no_walls() {
        assert!((at("0,179.5").distance_km(&at("0,-179.5")) - 111.195).abs() < 0.01);
        assert!(at("90,0").distance_km(&at("90,135")) < 0.001);
        let half_way = at("0,0").distance_km(&at("0,180"));
        assert!((half_way - EARTH_RADIUS_KM * std::f64::consts::PI).abs() < 0.001, "{half_way}");
    }

    #[test]
    fn limits_hold_at_and_just_above() {
        assert_eq!(at("-90, 180").to_string(), "-90,180");
        for wrong in ["90.001,0", "0,-180.001", "52.5", "", "north,east", "NaN,0", "1,2,3"] {
            assert!(wrong.parse::<Location>().is_err(), "{wrong}");
        }
        assert_eq!(parse_distance("500"), Ok(500.0));
        assert_eq!(parse_distance("500 km"), Ok(500.0));
        assert_eq!(parse_distance("100mi"), Ok(160.9344));
        for wrong in ["0", "-1km", "inf", "NaN", "km", "5 parsec"] {
            assert!(parse_distance(wrong).is_err(), "{wrong}");
        }
        assert_eq!(parse_country("de"), Ok("DE".into()));
        assert!(parse_country("DEU").is_err() && parse_country("4x").is_err());
    }
}
