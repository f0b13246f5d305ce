"""Turn the raw mobility data of a city into daily indicators, reports, forecasts and alerts."""
