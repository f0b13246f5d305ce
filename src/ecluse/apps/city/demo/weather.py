"""Write the weather of each day as Visual Crossing and as Open-Meteo give it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import numpy as np

from ecluse.apps.city.demo.base_map import CENTRE, Floats
from ecluse.apps.city.demo.days import Day, Weather, bump, day_of


def write_weather(day: Day) -> Iterator[tuple[str, bytes]]:
    """Key and content of a day's file; one day in 37 has none. One in four is Open-Meteo, the rest Visual Crossing."""
    if day.ordinal % 37 == 11:
        return
    is_open = day.ordinal % 4 == 1 and day.local.hours == 24
    name, body = ("open-meteo", _open_meteo(day)) if is_open else ("visual-crossing", _visual_crossing(day))
    key = f"api/weather/dt={day.date.isoformat()}/hour=06/{name}-demo.json"
    yield key, json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode()


def _visual_crossing(day: Day) -> dict[str, Any]:
    weather = day.weather
    begin = day.local.starts[0]
    return {
        "queryCost": 1,
        "unitGroup": "metric",
        "latitude": CENTRE[1],
        "longitude": CENTRE[0],
        "resolvedAddress": "Paris, Île-de-France, France",
        "address": "Paris,France",
        "timezone": "Europe/Paris",
        "tzoffset": begin.astimezone(day.local.zone).utcoffset().total_seconds() / 3600,  # type: ignore[union-attr]
        "days": [
            {
                "datetime": day.date.isoformat(),
                "datetimeEpoch": int(begin.timestamp()),
                "tempmax": weather.temperature_max,
                "tempmin": weather.temperature_min,
                "temp": weather.temperature,
                "precip": weather.rain,
                "precipprob": 100.0 if weather.rain else 0.0,
                "windgust": round(1.6 * weather.wind, 1),
                "windspeed": weather.wind,
                "conditions": _conditions(weather),
                "icon": "rain" if weather.rain > 0.5 else "partly-cloudy-day",
            }
        ],
    }


def _open_meteo(day: Day) -> dict[str, Any]:
    weather = day.weather
    hours = np.arange(24.0)
    wave = bump(hours, 15.0, 4.5)
    swing = weather.temperature_max - weather.temperature_min
    temperature = weather.temperature_min + swing * (wave - wave.min()) / (wave.max() - wave.min())
    rain = np.zeros(24)
    # The rain of an hour stands at the stamp that ends it, so that the first is that of the day before.
    before = day_of(day.date - timedelta(days=1), day.seed).weather
    for day_weather, shift in ((weather, 1), (before, 1 - 24)):
        stamps = [hour + shift for hour in day_weather.rain_hours if 0 <= hour + shift < 24]
        rain[stamps] = day_weather.rain / max(1, len(day_weather.rain_hours))
    wind = weather.wind * (0.55 + 0.45 * bump(hours, 14.0, 5.0))
    return {
        "latitude": CENTRE[1],
        "longitude": CENTRE[0],
        "generationtime_ms": 0.1,
        "utc_offset_seconds": int(day.local.zone.utcoffset(day.local.starts[12].replace(tzinfo=None)).total_seconds()),  # type: ignore[union-attr]
        "timezone": "Europe/Paris",
        "timezone_abbreviation": "GMT+1",
        "elevation": 38.0,
        "hourly_units": {"time": "iso8601", "temperature_2m": "°C", "precipitation": "mm", "wind_speed_10m": "km/h"},
        "hourly": {
            "time": [f"{day.date.isoformat()}T{hour:02d}:00" for hour in range(24)],
            "temperature_2m": _rounded(temperature, 1),
            "precipitation": _rounded(rain, 2),
            "wind_speed_10m": _rounded(wind, 1),
        },
        "daily_units": {
            "time": "iso8601", "weather_code": "wmo code", "temperature_2m_max": "°C", "temperature_2m_min": "°C",
            "temperature_2m_mean": "°C", "precipitation_sum": "mm", "wind_speed_10m_max": "km/h",
        },
        "daily": {
            "time": [day.date.isoformat()],
            "weather_code": [61 if weather.rain > 0.5 else 2],
            "temperature_2m_max": [weather.temperature_max],
            "temperature_2m_min": [weather.temperature_min],
            "temperature_2m_mean": [weather.temperature],
            "precipitation_sum": [weather.rain],
            "wind_speed_10m_max": [weather.wind],
        },
    }  # fmt: skip


def _rounded(values: Floats, decimals: int) -> list[float]:
    return [round(float(value), decimals) for value in values]


def _conditions(weather: Weather) -> str:
    if weather.rain > 0.5:
        return "Rain, Partially cloudy"
    return "Clear" if weather.temperature_max - weather.temperature_min > 9 else "Partially cloudy"
