export const time = {
  ago: 'vor {age}',
  days: '{n} T',
  hours: '{n} h',
  minutes: '{n} min',
  now: 'gerade eben',
  seconds: '{n} s',
  utc: '{time} UTC',
}
