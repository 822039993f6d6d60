/** English. Each file has the texts of one subject; `../de/` has the same files. */

import { access } from './access'
import { alerts } from './alerts'
import { common } from './common'
import { errors } from './errors'
import { bulk } from './bulk'
import { channels } from './channels'
import { events } from './events'
import { fleet } from './fleet'
import { host } from './host'
import { login } from './login'
import { rules } from './rules'
import { shell } from './shell'
import { table } from './table'
import { time } from './time'

export const en = {
  access,
  alerts,
  bulk,
  channels,
  common,
  errors,
  events,
  fleet,
  host,
  login,
  rules,
  shell,
  table,
  time,
}
