export const errors = {
  bug: 'Something went wrong in this page. Reload it.',
  lastUpdate: 'Last update: {age}.',
  misunderstood: 'Fleetbeat’s answer could not be understood. Reload this page.',
  page: 'This page could not be loaded. Most likely Fleetbeat was upgraded: reload.',
  problem: 'Fleetbeat has a problem: {reason}',
  request: '{reason} (request {id})',
  status: 'HTTP status {status}.',
  timeout: 'Fleetbeat did not answer within {seconds} s.',
  unreachable: 'Fleetbeat cannot be reached.',
}
