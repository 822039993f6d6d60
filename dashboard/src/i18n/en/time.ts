export const time = {
  ago: '{age} ago',
  days: '{n} d',
  hours: '{n} h',
  minutes: '{n} min',
  now: 'just now',
  seconds: '{n} s',
  utc: '{time} UTC',
}
