-- The flight board: an application's own tables. Nothing in them knows of Tallystick.

CREATE TABLE airlines (
  carrier text PRIMARY KEY,
  name text NOT NULL
);

CREATE TABLE airports (
  faa text PRIMARY KEY,
  name text NOT NULL,
  lat double precision NOT NULL,
  lon double precision NOT NULL,
  alt integer NOT NULL,
  tz integer NOT NULL,
  dst text NOT NULL,
  tzone text
);

CREATE TABLE planes (
  tailnum text PRIMARY KEY,
  year integer,
  type text NOT NULL,
  manufacturer text NOT NULL,
  model text NOT NULL,
  engines integer NOT NULL,
  seats integer NOT NULL,
  speed integer,
  engine text NOT NULL
);

-- Hours are local, and one of them occurs twice when the clocks go back: the key is the instant.
CREATE TABLE weather (
  origin text,
  year integer NOT NULL,
  month integer NOT NULL,
  day integer NOT NULL,
  hour integer NOT NULL,
  temp numeric,
  dewp numeric,
  humid numeric,
  wind_dir numeric,
  wind_speed numeric,
  wind_gust numeric,
  precip numeric,
  pressure numeric,
  visib numeric,
  time_hour timestamptz,
  PRIMARY KEY (origin, time_hour)
);

-- A flight number leaves an airport at most once a day. Times of day are HHMM, as the source has them.
CREATE TABLE flights (
  year integer,
  month integer,
  day integer,
  dep_time integer,
  sched_dep_time integer NOT NULL,
  dep_delay integer,
  arr_time integer,
  sched_arr_time integer NOT NULL,
  arr_delay integer,
  carrier text,
  flight integer,
  tailnum text,
  origin text,
  dest text NOT NULL,
  air_time integer,
  distance integer NOT NULL,
  hour integer NOT NULL,
  minute integer NOT NULL,
  time_hour timestamptz NOT NULL,
  PRIMARY KEY (year, month, day, carrier, flight, origin)
);
